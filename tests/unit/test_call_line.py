"""The time line of one call: what a view and its service have seen beside the entries."""

from overview_bench import SPEECH, OverviewBench

from application.overview.answers import answer
from application.overview.call_line import moments_of
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.moments import Kind, Moment
from application.overview.outages import Outage, united
from application.overview.service import ServiceReport, ServiceWatch
from application.ports.exposition import BrokerOutage, ServiceState
from application.ports.reader import PublishedEntry
from application.testing.appends import cut
from domain.entries import Gap
from domain.ledger import Ledger


def speaking() -> OverviewBench:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH, 5)
    bench.look()
    return bench


def report(bench: OverviewBench, *outages: BrokerOutage) -> ServiceReport:
    state = ServiceState(
        takes_writes=True, calls=1, buffered_bytes=0, oldest_seconds=0.0, lost=0, received=0,
        is_draining=False, outages=outages, watches_since_ms=bench.instant.epoch_ms - 3_600_000,
        handshakes={}, refused_at_ms={},
    )  # fmt: skip
    return ServiceWatch().report(state, bench.instant)


def told(bench: OverviewBench, kind: Kind, service: ServiceReport | None = None) -> Moment:
    moments = moments_of(bench.overview, bench.call, bench.line, bench.instant, service)
    (found,) = [it for it in moments if it.kind is kind]
    return found


def opened_in_an_outage() -> OverviewBench:
    bench = speaking()
    bench.now += 20
    bench.overview = CallOverview()
    bench.overview.opened(bench.instant)
    bench.overview.failed("refused", bench.instant)
    bench.now += 12
    bench.overview.heard(bench.instant)
    bench.put_announcements()
    bench.overview.has_index = True
    bench.look()
    return bench


def test_a_view_that_was_opened_in_an_outage_says_for_how_long_at_least() -> None:
    bench = opened_in_an_outage()
    outage = told(bench, Kind.OUTAGE)
    assert outage.text.startswith("broker away for at least 12 s: it was away when this view was")
    past = answer(bench.overview, bench.instant).wrong[1].text
    assert past.startswith("broker away for at least 12 s")


def test_with_its_service_it_says_since_when() -> None:
    bench = opened_in_an_outage()
    now_ms = bench.instant.epoch_ms
    noted = BrokerOutage(now_ms - 30_000, now_ms + 200, 0, 0, is_partial=False)
    outage = told(bench, Kind.OUTAGE, report(bench, noted))
    assert (outage.text, outage.at_ms) == ("broker away for 30 s", noted.since_ms)


def test_an_outage_is_seen_late_if_nothing_earlier_is_known_of_it() -> None:
    late, noted = Outage(5_000, 9_000, is_seen_late=True), Outage(6_000, 10_000, lost=0)
    assert united([noted, late], max) == [Outage(5_000, 10_000, lost=0, is_seen_late=True)]
    noted.since_ms = 4_000
    assert united([noted, late], max) == [Outage(4_000, 10_000, lost=0)]


def test_a_cut_is_told_when_a_look_found_it_unless_it_was_there_before() -> None:
    bench = speaking()
    last_ms = bench.instant.epoch_ms
    head = bench.head
    assert head is not None
    bench.now += 2
    bench.put(cut(head))
    bench.look()
    assert bench.call.condition is Condition.CUT
    cut_ms = bench.instant.epoch_ms
    bench.now += 5
    assert told(bench, Kind.CUT).at_ms == cut_ms
    bench.overview = CallOverview()
    bench.put_announcements()
    bench.look()
    assert told(bench, Kind.CUT).at_ms == last_ms


def test_whether_the_broker_was_away_is_known_if_the_view_or_its_service_watched() -> None:
    bench = speaking()
    bench.line.add(PublishedEntry(1, 6, Gap(5, 3)))
    bench.call.ledger = Ledger(received=8, published=5, lost=3, missing=3)
    bench.now += 60
    bench.overview.opened(bench.instant)
    assert "whether the broker was away is not known" in told(bench, Kind.GAP).cause
    assert "is not known" not in told(bench, Kind.GAP, report(bench)).cause
