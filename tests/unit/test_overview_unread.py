"""What the views say of calls that cannot be read, while others can."""

from overview_bench import OverviewBench

from application.overview.answers import Answers, answer
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.words import Tone
from domain.events import EndReason
from domain.identifiers import StreamId, StreamKey, TenantId


def flowing(name: str, overview: CallOverview) -> OverviewBench:
    return OverviewBench(StreamKey(TenantId("t"), StreamId(name)), overview).flow()


def told(bench: OverviewBench) -> Answers:
    return answer(bench.overview, bench.instant)


def test_a_call_that_cannot_be_read_does_not_count_as_one_with_audio() -> None:
    overview = CallOverview()
    read, unread = (flowing(name, overview) for name in ("read", "unread"))
    assert told(read).arriving.text == "2 of 2 calls with audio, 2 frames/s"
    overview.unread(unread.key, read.instant)
    assert told(read).arriving.text == "1 of 2 calls with audio, 1 frames/s, 1 cannot be read"
    assert told(read).arriving.tone is Tone.GOOD
    assert told(read).complete.text == "nothing missing in 2 live calls; 1 cannot be read"
    assert [it.text for it in told(read).wrong] == ["1 call cannot be read"]
    overview.unread(read.key, read.instant)
    assert told(read).arriving.tone is told(read).complete.tone is Tone.UNKNOWN


def test_while_the_store_is_away_a_call_is_as_it_was_seen_last() -> None:
    bench = flowing("call", CallOverview())
    bench.overview.unread(bench.key, bench.instant)
    bench.overview.failed("gone", bench.instant)
    assert told(bench).arriving.text.endswith("last seen: 1 of 1 call with audio, 1 frames/s")


def test_a_call_that_cannot_be_read_comes_before_those_that_flow_and_is_found() -> None:
    overview = CallOverview()
    first, second = (flowing(name, overview) for name in ("first", "second"))
    overview.unread(second.key, second.instant)
    shown = overview.select("", 1).shown
    assert [call.stream for call in shown] == [second.key]
    assert [call.stream for call in overview.select("unread", 9).shown] == [second.key]
    assert [call.stream for call in overview.select("flowing", 9).shown] == [first.key]


def test_a_call_is_found_by_the_reason_of_its_end() -> None:
    bench = flowing("call", CallOverview())
    bench.end()
    bench.look()
    bench.call.end_reason = EndReason.BROKER_LOST
    assert bench.overview.select("ended broker_lost", 9).matching == 1
    assert bench.overview.select("disconnected", 9).matching == 0


def test_a_call_that_is_over_is_settled_once_it_was_read() -> None:
    bench = flowing("call", CallOverview())
    bench.end()
    bench.overview.unread(bench.key, bench.instant)
    assert not bench.call.is_settled
    bench.look()
    assert bench.call.is_settled
    assert bench.call.condition is Condition.ENDED
    bench.overview.unread(bench.key, bench.instant)
    bench.overview.absent(bench.key, bench.instant)
    assert bench.call.is_settled
