"""What the first screen says of outages that are over, of the door, and of what a service knows."""

from typing import Any

import pytest
from overview_bench import EPOCH_MS, SPEECH, OverviewBench

from adapters.inbound.reporting.refusals import Outcome
from application.overview.answers import Answers, answer
from application.overview.call_overview import CallOverview
from application.overview.door import REFUSED
from application.overview.outages import TOLD_SECONDS
from application.overview.service import ServiceWatch, all_outages
from application.overview.words import Answer, Tone
from application.ports.clock import Instant
from application.ports.exposition import HANDSHAKE_MINUTES, BrokerOutage, ServiceState
from application.ports.telemetry import ACCEPTED
from domain.ledger import Ledger

NOW = Instant(1_000.0, EPOCH_MS + 1_000_000)
MINUTE = NOW.epoch_ms // 60_000


def state(**fields: Any) -> ServiceState:
    calm = ServiceState(
        takes_writes=True, calls=5, buffered_bytes=0, oldest_seconds=0.0, lost=0, received=0,
        is_draining=False, outages=(), watches_since_ms=EPOCH_MS, handshakes={}, refused_at_ms={},
    )  # fmt: skip
    return calm._replace(**fields)


def healthy() -> CallOverview:
    overview = CallOverview()
    overview.has_index = True
    overview.heard(NOW)
    return overview


def answers(
    state_of_service: ServiceState, now: Instant = NOW, overview: CallOverview | None = None
) -> Answers:
    return answer(overview or healthy(), now, ServiceWatch().report(state_of_service, now))


def wrong(state_of_service: ServiceState) -> list[tuple[Tone, str]]:
    return [(it.tone, it.text) for it in answers(state_of_service).wrong]


def ago(seconds: float) -> int:
    return NOW.epoch_ms - round(seconds * 1_000)


def outage(since: float, until: float, lost: int = 0, turned_away: int = 0) -> BrokerOutage:
    return BrokerOutage(ago(since), ago(until), lost, turned_away, is_partial=False)


@pytest.mark.parametrize(
    ("outages", "text"),
    [
        ([outage(132, 120)], "broker away for 12 s, no frame lost, back since"),
        ([outage(132, 120, 1)], "broker away for 12 s, 1 frame lost, back since"),
        (
            [outage(132, 120, 1_295, 3)],
            "broker away for 12 s, 1,295 frames lost, 3 handshakes refused, back since",
        ),
        (
            [outage(300, 290, 5), outage(132, 120, 2)],
            "broker away for 22 s, 2 times in the last 10 min, 7 frames lost, back since",
        ),
        (  # one outage, as two workers have noted it
            [outage(132, 121, 5), outage(131, 120, 2)],
            "broker away for 12 s, 7 frames lost, back since",
        ),
        (
            [outage(132, 120)._replace(is_partial=True)],
            "a part of the broker away for 12 s, no frame lost, back since",
        ),
    ],
)
def test_an_outage_that_is_over_is_told_to_a_view_that_is_opened_later(
    outages: list[BrokerOutage], text: str
) -> None:
    calm, told = answers(state(outages=outages)).wrong
    assert (calm.tone, calm.text) == (Tone.GOOD, "nothing now")
    assert (told.tone, told.text, told.at_ms) == (Tone.PAST, text, ago(120))


def test_an_outage_of_long_ago_and_a_new_connection_are_not_told() -> None:
    old = outage(TOLD_SECONDS + 20, TOLD_SECONDS + 1, lost=9)
    assert wrong(state(outages=[old, outage(60, 59.5)])) == [(Tone.GOOD, "nothing")]
    assert len(wrong(state(outages=[outage(60, 59.5, lost=1)]))) == 2


def test_a_view_alone_tells_the_outage_that_it_saw_and_what_its_calls_lost() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH)
    bench.look()
    bench.overview.failed("refused", bench.instant)
    bench.now += 12
    bench.overview.heard(bench.instant)
    back_ms = bench.instant.epoch_ms
    (_, told) = answer(bench.overview, bench.instant).wrong
    assert told.text == "broker away for 12 s, back since"  # no call was looked at yet
    assert told.at_ms == back_ms
    bench.look()
    assert "no frame lost, back since" in answer(bench.overview, bench.instant).wrong[1].text
    head = bench.head
    assert head is not None
    head.account.ledger = Ledger(received=9, published=1, lost=8, missing=8)
    bench.look()
    (_, told) = answer(bench.overview, bench.instant).wrong
    assert told.text == "broker away for 12 s, 8 frames lost, back since"


def test_two_accounts_of_one_outage_are_one() -> None:
    overview = healthy()
    overview.failed("refused", NOW)
    later = Instant(NOW.monotonic + 12, NOW.epoch_ms + 12_000)
    overview.heard(later)
    noted = BrokerOutage(NOW.epoch_ms - 500, NOW.epoch_ms + 12_500, 7, 0, is_partial=False)
    report = ServiceWatch().report(state(outages=[noted]), later)
    (known,) = all_outages(overview.outages, report)
    assert (known.since_ms, known.until_ms, known.lost) == (noted.since_ms, noted.until_ms, 7)


def test_since_when_the_broker_is_away_is_known_from_the_service() -> None:
    overview = CallOverview()
    overview.opened(NOW)
    overview.failed("refused", NOW)
    now = Instant(NOW.monotonic + 5, NOW.epoch_ms + 5_000)
    away = BrokerOutage(ago(33), None, 0, 0, is_partial=False)
    told = answers(state(takes_writes=False, outages=[away]), now, overview)
    assert told.broker.text == "broker away for 38 s: refused"
    assert [it.text for it in told.wrong] == [told.broker.text]
    alone = answer(overview, now)
    assert alone.broker.text == (
        "broker away for at least 5 s, since before this view was opened: refused"
    )


def test_the_service_may_know_that_the_broker_is_away_before_the_view() -> None:
    away = state(takes_writes=False, outages=[BrokerOutage(ago(33), None, 0, 0, is_partial=False)])
    opened, quiet = CallOverview(), healthy()
    opened.opened(NOW)
    quiet.asked(NOW)
    now = Instant(NOW.monotonic + 1, NOW.epoch_ms + 1_000)
    for overview in (opened, quiet):
        told = answers(away, now, overview)
        assert (told.broker.tone, told.broker.text) == (Tone.BAD, "broker away for 34 s")
        assert told.wrong == (told.broker,)
        assert answer(overview, now).broker.tone is Tone.UNKNOWN


def test_a_broker_that_answers_and_takes_no_writes_is_wrong() -> None:
    away = BrokerOutage(ago(12), None, 0, 0, is_partial=False)
    assert wrong(state(takes_writes=False, outages=[away])) == [
        (Tone.BAD, "the broker takes no writes of this service for 12 s")
    ]


def test_what_arrives_is_known_from_the_service_while_the_broker_is_away() -> None:
    overview, watch = healthy(), ServiceWatch()
    overview.failed("refused", NOW)

    def arriving(seconds: int, received: int, **fields: Any) -> Answer:
        now = Instant(NOW.monotonic + seconds, NOW.epoch_ms + seconds * 1_000)
        return answer(overview, now, watch.report(state(received=received, **fields), now)).arriving

    assert arriving(0, 0).tone is Tone.UNKNOWN
    told = arriving(2, 500)
    assert told.tone is Tone.GOOD
    assert told.text == (
        "this service receives 250 frames/s in 5 open calls; published: not known for 2 s;"
        " last seen: no live calls"
    )
    for second in range(3, 9):
        told = arriving(second, 500, oldest_seconds=9.0)
    assert told.tone is Tone.BAD
    assert told.text.startswith(
        "this service receives no audio in 5 open calls: none comes, or its buffers are full; "
    )
    assert arriving(9, 501, calls=0).text.startswith("this service has no open calls; ")
    overview.heard(Instant(NOW.monotonic + 9, NOW.epoch_ms + 9_000))
    assert arriving(9, 501).text == "no live calls"  # as published, which is what counts


def test_when_frames_were_lost_is_not_known_if_no_page_was_open() -> None:
    watch = ServiceWatch()

    def card(seconds: float, lost: int) -> Answer:
        now = Instant(NOW.monotonic + seconds, NOW.epoch_ms + round(seconds * 1_000))
        return watch.report(state(lost=lost), now).card

    card(0, 0)
    assert card(1, 2).text.endswith("2 frames received and lost, the last 0 s ago")
    assert card(1, 2).tone is Tone.BAD
    later = card(3_600, 5)
    assert later.text.endswith("5 frames received and lost, since it started")
    assert later.tone is Tone.PAST
    assert card(3_601, 6).text.endswith("6 frames received and lost, the last 0 s ago")


def test_a_store_that_is_silent_is_not_green_for_long() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH)
    bench.look()

    def told() -> Answers:
        return answer(bench.overview, bench.instant)

    bench.now += 30  # it was not asked
    assert not told().is_dated
    bench.overview.heard(bench.instant)
    bench.overview.asked(bench.instant)
    bench.now += 0.9
    assert told().broker.tone is Tone.GOOD
    bench.now += 0.1
    assert (told().broker.tone, told().is_dated) == (Tone.UNKNOWN, True)
    assert told().arriving.tone is Tone.UNKNOWN
    assert [(it.tone, it.text) for it in told().wrong] == [
        (Tone.UNKNOWN, "the broker has not answered for 1 s")
    ]
    bench.now += 2
    assert (told().broker.tone, told().broker.text) == (Tone.BAD, "broker away for 3 s")
    bench.overview.heard(bench.instant)  # it was away, although no question has failed
    assert told().broker.tone is Tone.GOOD
    assert told().wrong[1].text == "broker away for 3 s, back since"


def handshakes(accepted: int = 0, minutes_ago: int = 0, **refused: int) -> ServiceState:
    counted = {outcome: {MINUTE - minutes_ago: count} for outcome, count in refused.items()}
    return state(
        handshakes={ACCEPTED: {MINUTE - minutes_ago: accepted}, **counted},
        refused_at_ms=dict.fromkeys(refused, ago(60 * minutes_ago + 14)),
    )


@pytest.mark.parametrize(
    ("state_of_service", "tone", "text"),
    [
        (
            handshakes(accepted=4, no_broker=2, full=3),
            Tone.BAD,
            "5 of 9 handshakes refused in the last 10 min: full 3, no_broker 2; the last 14 s ago",
        ),
        (
            handshakes(accepted=1_000, full=1),
            Tone.BAD,
            "1 of 1,001 handshakes refused in the last 10 min: full 1; the last 14 s ago",
        ),
        (
            handshakes(accepted=3, minutes_ago=3, full=1),
            Tone.PAST,
            "1 of 4 handshakes refused in the last 10 min: full 1; the last 3 min ago",
        ),
        (  # a password that has changed: few are let in
            handshakes(accepted=8, unauthenticated=1),
            Tone.BAD,
            "1 of 9 handshakes refused in the last 10 min: unauthenticated 1; the last 14 s ago",
        ),
        (  # one that tries
            handshakes(accepted=80, unauthenticated=1),
            Tone.PAST,
            "1 of 81 handshakes refused in the last 10 min: unauthenticated 1; the last 14 s ago",
        ),
        (
            handshakes(draining=1),
            Tone.PAST,
            "1 of 1 handshake refused in the last 10 min: draining 1; the last 14 s ago",
        ),
    ],
)
def test_refused_handshakes_are_wrong_with_their_count_and_reason(
    state_of_service: ServiceState, tone: Tone, text: str
) -> None:
    assert (tone, text) in wrong(state_of_service)


def test_refusals_of_long_ago_and_of_no_handshake_are_not_told() -> None:
    for state_of_service in (
        handshakes(accepted=1, minutes_ago=HANDSHAKE_MINUTES, full=9),
        handshakes(timed_out=9, body=2),
        handshakes(accepted=9),
    ):
        assert wrong(state_of_service) == [(Tone.GOOD, "nothing")]


def test_the_outcomes_that_are_told_are_those_of_the_gate() -> None:
    told = {outcome.value for outcome in Outcome}
    assert told >= REFUSED
    assert told - REFUSED == {"accepted", "timed_out", "body"}
