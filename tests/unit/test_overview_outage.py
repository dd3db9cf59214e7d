"""What the views say while the store is away, right after that, and of trouble that is over."""

import pytest
from overview_bench import SPEECH, OverviewBench

from application.overview.answers import answer
from application.overview.call import MUTE_SECONDS
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.service import LOSING_SECONDS, ServiceWatch
from application.overview.words import Answer, Tone, duration
from application.ports.clock import Instant
from application.ports.exposition import ServiceState
from domain.events import EndReason
from domain.ledger import Ledger

CALM = ServiceState(
    takes_writes=True, calls=9, buffered_bytes=0, oldest_seconds=0.0, lost=0, received=0,
    is_draining=False, outages=(), watches_since_ms=0, handshakes={}, refused_at_ms={},
)  # fmt: skip


def speaking() -> OverviewBench:
    bench = OverviewBench()
    bench.overview.opened(bench.instant)
    return bench.flow()


@pytest.mark.parametrize("fails", [True, False])
def test_a_view_that_was_opened_in_an_outage_says_that_it_knows_nothing(*, fails: bool) -> None:
    overview = CallOverview()
    overview.opened(Instant(100.0, 100_000))
    if fails:
        overview.failed("refused", Instant(101.0, 101_000))
    told = answer(overview, Instant(138.0, 138_000))
    assert told.broker.tone is Tone.BAD
    at_least = "broker away for at least 38 s, since before this view was opened"
    assert told.broker.text.startswith(at_least)
    for it in (told.arriving, told.complete, told.calling):
        assert it.tone is Tone.UNKNOWN
        assert it.text == "nothing is known yet: this view has waited for 38 s"
    assert told.wrong == (told.broker,)
    overview.heard(Instant(138.0, 138_000))
    told = answer(overview, Instant(138.0, 138_000))
    assert (told.broker.tone, told.complete.tone) == (Tone.UNKNOWN, Tone.UNKNOWN)
    overview.has_index = True
    assert answer(overview, Instant(138.0, 138_000)).complete.tone is Tone.GOOD


def test_what_was_seen_before_an_outage_is_not_told_as_known() -> None:
    bench = speaking()
    assert answer(bench.overview, bench.instant).complete.tone is Tone.GOOD
    bench.overview.failed("refused", bench.instant)
    bench.now += 12
    told = answer(bench.overview, bench.instant)
    for it in (told.arriving, told.complete, told.calling):
        assert it.tone is Tone.UNKNOWN
        assert it.text.startswith("not known for 12 s; last seen: ")
    assert told.complete.text.endswith("nothing missing in 1 live call")
    assert [it.text for it in told.wrong] == ["broker away for 12 s: refused"]


def test_a_call_has_the_time_of_a_look_when_the_store_is_back() -> None:
    bench = speaking()
    bench.overview.failed("refused", bench.instant)
    bench.now += 30
    bench.overview.heard(bench.instant)
    bench.look()
    assert bench.call.condition is Condition.FLOWING
    for _ in range(3):  # of its frames, which are long
        bench.now += 1
        bench.overview.heard(bench.instant)
    bench.look()
    assert bench.call.condition is Condition.STILL
    bench.overview.failed("refused", bench.instant)
    bench.now += 30
    bench.overview.heard(bench.instant)
    bench.look()
    assert bench.call.condition is Condition.STILL  # it was before, and nothing has come


def test_a_call_that_has_no_audio_after_its_start_is_wrong() -> None:
    bench = OverviewBench()
    bench.start()
    for second in range(1, 7):
        bench.now += 1
        bench.overview.heard(bench.instant)
        bench.look()
        told = answer(bench.overview, bench.instant)
        assert (told.arriving.tone is Tone.BAD) == (second >= MUTE_SECONDS)
    assert [it.text for it in told.wrong] == [
        "1 call started, and no audio yet, the longest for 6 s"
    ]
    late = OverviewBench()
    late.start()
    late.overview = CallOverview()
    late.now += 60
    late.put_announcements()
    late.look()
    assert late.call.is_mute  # as long as it waits, not as long as the view is open
    assert late.call.waiting_seconds(late.instant) == 60
    other = OverviewBench()
    other.overview.failed("refused", other.instant)
    other.now += 30
    other.start()
    other.look()
    assert not other.call.is_mute  # its audio comes now
    bench.hear(SPEECH)
    bench.look()
    assert answer(bench.overview, bench.instant).arriving.tone is Tone.GOOD


def test_losses_are_wrong_while_their_call_is_live_then_past_until_its_call_leaves() -> None:
    bench = speaking()
    bench.seq += 7
    bench.hear(SPEECH)
    bench.look()
    bench.hear(SPEECH, 40)
    bench.look()
    told = answer(bench.overview, bench.instant)
    lost = "7 frames missing in 1 live call, the last 40 s ago"
    assert (told.complete.tone, told.complete.text) == (Tone.BAD, lost)
    assert [(it.tone, it.text) for it in told.wrong] == [(Tone.BAD, lost)]
    bench.end()
    bench.look()
    bench.now += 600
    bench.overview.heard(bench.instant)
    told = answer(bench.overview, bench.instant)
    past = "7 frames missing in 1 call that is over, the last 10 min ago"
    assert told.complete.tone is Tone.PAST
    assert told.complete.text == f"no live calls; {past}"
    assert [(it.tone, it.text) for it in told.wrong] == [
        (Tone.GOOD, "nothing now"), (Tone.PAST, past),
    ]  # fmt: skip
    bench.start()
    assert answer(bench.overview, bench.instant).wrong[0].text == "nothing"


def test_frames_that_were_received_and_lost_are_told_as_wrong() -> None:
    bench = speaking()
    bench.call.ledger = Ledger(received=5_606, published=2, lost=5_604, missing=5_604)
    (wrong,) = answer(bench.overview, bench.instant).wrong
    assert wrong.tone is Tone.BAD
    assert wrong.text.startswith("5,604 frames missing, 5,604 received and lost, in 1 live call")


def test_a_call_that_was_over_before_the_view_is_not_given_a_time() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH)
    bench.end()
    bench.overview = CallOverview()
    bench.put_announcements()
    bench.overview.has_index = True
    bench.overview.heard(bench.instant)
    bench.look()
    bench.call.end_reason = EndReason.DISCONNECTED
    assert bench.call.frame_age(bench.instant) is None
    assert "disconnected 1, before this view was opened" in (
        answer(bench.overview, bench.instant).wrong[1].text
    )


def test_the_age_of_the_last_frame_of_a_call_that_is_over_grows() -> None:
    bench = speaking()
    bench.end()
    bench.look()
    bench.now += 60
    assert bench.call.frame_age(bench.instant) == 60


def test_the_first_picture_has_no_rate() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH)
    bench.look()
    assert answer(bench.overview, bench.instant).arriving.text == (
        "1 of 1 call with audio, - frames/s"
    )
    bench.hear(SPEECH)
    bench.look()
    assert answer(bench.overview, bench.instant).arriving.text == (
        "1 of 1 call with audio, 1 frames/s"
    )


def test_the_service_says_what_waits_and_what_it_loses() -> None:
    watch = ServiceWatch()

    def card(state: ServiceState, now: float, watching: ServiceWatch = watch) -> Answer:
        return watching.report(state, Instant(now, round(now * 1_000))).card

    assert card(CALM, 100.0).text == "9 calls open"
    on_its_way = CALM._replace(buffered_bytes=320, oldest_seconds=0.1)
    assert card(on_its_way, 100.0).text == "9 calls open"
    away = CALM._replace(takes_writes=False, buffered_bytes=5 << 20, oldest_seconds=38.0)
    told = card(away, 101.0)
    assert told.tone is Tone.BAD
    assert told.text == (
        "the broker takes no writes; 9 calls open, 5,120 kB of audio waiting (the oldest for 38 s)"
    )
    assert card(CALM._replace(lost=7), 102.0).tone is Tone.BAD
    later = card(CALM._replace(lost=7), 102.0 + LOSING_SECONDS)
    assert later.tone is Tone.PAST
    assert later.text == "9 calls open, 7 frames received and lost, the last 10 s ago"
    assert "since it started" in card(CALM._replace(lost=7), 0.0, ServiceWatch()).text
    assert card(CALM._replace(is_draining=True), 200.0).text.startswith("it stops")


def test_a_duration_has_the_unit_that_fits() -> None:
    assert [duration(it) for it in (0, 119, 120, 7_199, 7_200)] == [
        "0 s", "119 s", "2 min", "120 min", "2 h",
    ]  # fmt: skip
