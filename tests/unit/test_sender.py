"""The loops that hand appends to the store: rounds, order, failures, and what is left over."""

import asyncio

import pytest
from sender_bench import SenderBench, ears, stream_key, timeless, until

from application.delivery.byte_budget import BufferLimits
from application.delivery.log_registry import TICK_SECONDS
from application.delivery.sender import (
    ROUND_BYTES,
    ROUND_ENTRIES,
    ROUND_STREAMS,
    ROUNDS_AT_ONCE,
)
from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.time_limit import ANSWER_SECONDS, FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS
from domain.account import State
from domain.entries import Started
from domain.events import EndReason

AMPLE = BufferLimits(buffer_seconds=1_000, buffer_bytes=1 << 30, rewind_seconds=5)


@timeless()
async def test_what_is_heard_is_stored_and_acked(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0, 1, 2)
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0, 1, 2]
    assert ears(live).acked == [2]
    assert bench.sender.unpublished() == 0


@timeless()
async def test_batches_grow_while_the_store_takes_its_time(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.seconds = 0.1
    began = len(bench.store.calls)
    for seq in range(100):
        bench.hear(live, seq)
        await asyncio.sleep(0.01)
    await until(lambda: live.log.is_empty)
    calls = bench.store.calls[began:]
    assert len(calls) <= 12
    assert [seq for call in calls for seq in call.seqs] == list(range(100))


@timeless()
async def test_many_streams_are_sent_in_one_call(bench: SenderBench) -> None:
    lives = [await bench.begin(stream=stream_key(f"s{number}")) for number in range(20)]
    began = len(bench.store.calls)
    for live in lives:
        bench.hear(live, 0)
    await until(lambda: bench.sender.unpublished() == 0)
    assert len(bench.store.calls) - began == 1


@timeless()
async def test_only_so_many_rounds_are_in_flight_and_a_stream_is_in_one_of_them(
    bench: SenderBench,
) -> None:
    lives = [await bench.begin(stream=stream_key(f"s{number}")) for number in range(5)]
    bench.store.may_answer.clear()
    for seq in range(10):
        for live in lives:
            bench.hear(live, seq)
            await asyncio.sleep(0.01)
    assert bench.store.in_flight == ROUNDS_AT_ONCE
    in_flight = [it for call in bench.store.calls[-ROUNDS_AT_ONCE:] for it in call.streams]
    assert len(in_flight) == len(set(in_flight))
    bench.store.may_answer.set()
    await until(lambda: bench.sender.unpublished() == 0)
    assert bench.store.most_in_flight == ROUNDS_AT_ONCE
    assert all(bench.store.seqs(live.key) == list(range(10)) for live in lives)


@timeless(limits=AMPLE)
async def test_a_round_is_bounded_in_streams_entries_and_bytes(bench: SenderBench) -> None:
    keys = [stream_key(f"s{number}") for number in range(ROUND_STREAMS + 88)]
    lives = await asyncio.gather(*(bench.begin(stream=key) for key in keys))
    for call in bench.store.calls:
        assert len(call.streams) <= ROUND_STREAMS
    began = len(bench.store.calls)
    for live in lives:
        bench.hear(live, *range(100), size=200)
    await until(lambda: bench.sender.unpublished() == 0)
    for call in bench.store.calls[began:]:
        assert len(call.seqs) < ROUND_ENTRIES + 128
    began = len(bench.store.calls)
    for live in lives[:60]:
        bench.hear(live, 100, size=100_000)
    await until(lambda: bench.sender.unpublished() == 0)
    for call in bench.store.calls[began:]:
        assert len(call.seqs) * 100_000 < ROUND_BYTES + 512 * 1024


@timeless(limits=AMPLE)
async def test_a_stream_that_has_much_does_not_keep_others_from_their_turn(
    bench: SenderBench,
) -> None:
    greedy, modest = [await bench.begin(stream=stream_key(name)) for name in ("greedy", "modest")]
    bench.store.seconds = 0.1
    bench.hear(greedy, *range(5_000))
    await asyncio.sleep(0.05)
    bench.hear(modest, 0)
    assert await until(lambda: modest.log.is_empty) < 0.3
    assert not greedy.log.is_empty
    await until(lambda: greedy.log.is_empty)
    assert bench.store.seqs(greedy.key) == list(range(5_000))


# Failures


@timeless()
async def test_a_store_that_is_away_is_tried_again_with_pauses_and_nothing_is_lost(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    began = bench.clock.now
    bench.hear(live, 0, 1)
    await asyncio.sleep(10)
    tries = [call.at for call in bench.store.calls if call.at >= began]
    assert len(tries) < ROUNDS_AT_ONCE * 10 / MAX_RETRY_SECONDS + 10
    assert live.published.last_seq is None
    bench.store.is_away = False
    assert await until(lambda: live.log.is_empty) <= MAX_RETRY_SECONDS + 0.02
    assert bench.store.seqs() == [0, 1]
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_a_call_that_hangs_is_given_up_in_time_and_made_again(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.may_answer.clear()
    bench.hear(live, 0)
    await asyncio.sleep(ANSWER_SECONDS + 0.01)
    bench.store.may_answer.set()
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0]


@timeless()
async def test_the_oldest_unconfirmed_frame_has_the_age_since_its_reception(
    bench: SenderBench,
) -> None:
    first, second = [await bench.begin(stream=stream_key(name)) for name in ("a", "b")]
    oldest = bench.telemetry.oldest_seconds
    assert oldest() == 0
    bench.store.is_away = True
    bench.hear(first, 0)
    await asyncio.sleep(3)
    bench.hear(second, 0)
    bench.hear(first, 1)
    await asyncio.sleep(2)
    assert oldest() == pytest.approx(5, abs=0.1)
    bench.store.is_away = False
    await until(lambda: bench.sender.unpublished() == 0)
    assert oldest() == 0


@timeless()
async def test_an_answer_that_is_lost_doubles_nothing(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.answers_lost = 3
    bench.hear(live, 0, 1, 2)
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0, 1, 2]
    bench.hear(live, 3)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    assert bench.store.seqs() == [0, 1, 2, 3]
    (ended,) = bench.store.ends()
    assert ended.ledger.published == 4
    assert live.lease.generation == 1


@pytest.mark.parametrize("error", [BrokerRefused("WRONGTYPE"), BrokerUnavailable("stuck")])
@timeless()
async def test_a_stream_that_fails_by_itself_holds_up_no_other(
    bench: SenderBench, error: BrokerRefused | BrokerUnavailable
) -> None:
    broken, well = [await bench.begin(stream=stream_key(name)) for name in ("broken", "well")]
    bench.store.failing[broken.key] = error
    began, tries = bench.clock.now, len(bench.store.appended(broken.key))
    for seq in range(400):
        bench.hear(broken, seq)
        bench.hear(well, seq)
        broken.log.doubt()
        await asyncio.sleep(0.02)
        assert well.log.is_empty
    assert broken.published.last_seq is None
    tries = len(bench.store.appended(broken.key)) - tries
    assert (
        tries
        <= (bench.clock.now - began) / MAX_RETRY_SECONDS + MAX_RETRY_SECONDS / FIRST_RETRY_SECONDS
    )
    del bench.store.failing[broken.key]
    assert await until(lambda: broken.log.is_empty) <= MAX_RETRY_SECONDS + 0.02
    assert bench.store.seqs(broken.key) == list(range(400))


@timeless()
async def test_streams_that_are_refused_hold_up_no_other_however_many_they_are(
    bench: SenderBench,
) -> None:
    names = ["well", *(f"broken{number}" for number in range(5))]
    well, *broken = [await bench.begin(stream=stream_key(name)) for name in names]
    bench.store.failing = {live.key: BrokerRefused("WRONGTYPE") for live in broken}
    for live in broken:
        bench.hear(live, 0)
        await asyncio.sleep(MAX_RETRY_SECONDS / len(broken))
    for seq in range(10):
        await asyncio.sleep((10 + seq / 10) * MAX_RETRY_SECONDS)
        bench.hear(well, seq)
        await until(lambda: well.log.is_empty, 0.02)


@timeless()
async def test_a_call_that_the_store_refuses_is_told_of_with_its_error(
    bench: SenderBench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(appends: object) -> None:
        raise BrokerRefused("NOAUTH")

    live = await bench.begin()
    monkeypatch.setattr(bench.store, "append", refuse)
    bench.hear(live, 0)
    await asyncio.sleep(1)
    told = [it for it in caplog.records if "refuses a stream" in it.message]
    assert [it.error for it in told] == ["NOAUTH"]  # type: ignore[attr-defined]
    monkeypatch.undo()
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0]


@timeless()
async def test_a_store_that_answers_for_one_stream_only_is_up(bench: SenderBench) -> None:
    """A stream that is refused is no doubt about all the others."""
    broken, well = [await bench.begin(stream=stream_key(name)) for name in ("broken", "well")]
    bench.store.failing[broken.key] = BrokerRefused("WRONGTYPE")
    bench.hear(broken, 0)
    bench.hear(well, 0)
    await asyncio.sleep(1)
    assert bench.sender.is_in_sync()
    assert bench.sender.unpublished() == 1


@timeless()
async def test_a_listener_that_raises_stops_no_other_stream(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "application.delivery")
    rude, well = [await bench.begin(stream=stream_key(name)) for name in ("rude", "well")]

    def raise_it(frames: int, last_seq: int | None) -> None:
        raise RuntimeError("a session failed")

    ears(rude).on_confirmed = raise_it  # type: ignore[method-assign]
    bench.hear(rude, 0)
    bench.hear(well, 0)
    await asyncio.sleep(1)
    assert bench.store.seqs(rude.key) == bench.store.seqs(well.key) == [0]
    assert ears(well).acked == [0]
    (told,) = [it for it in caplog.records if it.message == "outcome not taken"]
    assert (told.tenant_id, told.stream_id) == ("tenant", "rude")  # type: ignore[attr-defined]


# What is left over


@timeless()
async def test_flush_waits_until_there_is_nothing_to_append(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.seconds = 1.0
    bench.hear(live, 0)
    assert bench.sender.unpublished() == 1
    assert bench.sender.unpublished_streams() == [live.key]
    began = bench.clock.now
    await bench.sender.flush(30)
    assert bench.sender.unpublished() == 0
    assert bench.sender.unpublished_streams() == []
    assert bench.clock.now - began < 1.1
    assert bench.store.seqs() == [0]


@timeless()
async def test_flush_ends_at_its_limit_or_when_it_is_urgent(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.hear(live, 0)
    began = bench.clock.now
    await bench.sender.flush(3)
    assert 3 <= bench.clock.now - began < 3.1
    urgent_at = bench.clock.now + 1
    await bench.sender.flush(30, lambda: bench.clock.now >= urgent_at)
    assert bench.clock.now - urgent_at < 0.1
    assert bench.sender.unpublished() == 1


@timeless()
async def test_a_start_that_is_not_stored_yet_is_unpublished(bench: SenderBench) -> None:
    bench.store.may_answer.clear()
    asking = bench.asking()
    await asyncio.sleep(0.1)
    assert bench.sender.unpublished() == 1
    assert bench.sender.streams() == [stream_key("call")]
    bench.store.may_answer.set()
    await asking
    assert [type(entry) for entry in bench.store.entries()] == [Started]


@timeless()
async def test_a_log_that_is_done_is_held_no_more(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    head = bench.store.of().head
    assert head is not None
    assert head.account.state is State.ENDED
    assert bench.sender.streams() == []
    assert bench.logs == 1, "it is retained"
    (lane,) = bench.sender._lanes.values()
    assert len(lane.logs) == 1
    await asyncio.sleep(5 + 0.25 + 3 * TICK_SECONDS)
    assert bench.logs == 0
    assert not lane.logs
    assert bench.sender.budget.held_bytes == (0, 0)
    again = await bench.begin()
    assert again.lease.generation == 2


@timeless()
async def test_a_stalled_sender_is_told_after_twice_the_time_that_is_buffered(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.hear(live, 0)
    stalled = 2 * bench.sender.budget.limits.buffer_seconds
    await asyncio.sleep(stalled - 0.1)
    assert ears(live).stalled == 0
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert ears(live).stalled in {1, 2}
    bench.store.is_away = False
    await until(lambda: live.log.is_empty)
    stalled_then = ears(live).stalled
    await asyncio.sleep(2 * stalled)
    assert ears(live).stalled == stalled_then


@timeless()
async def test_a_sender_of_which_something_is_confirmed_is_not_stalled(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.seconds = 4.0
    for seq in range(30):
        bench.hear(live, seq)
        await asyncio.sleep(2)
    assert ears(live).stalled == 0


@timeless()
async def test_a_store_that_is_one_part_is_asked_about_without_its_name(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    answered_at = bench.clock.now
    bench.store.is_away = True
    bench.hear(live, 1)
    bench.sender.budget.add(100)  # of a call that has not started
    live.log.note_dropped(2)
    bench.telemetry.frames("lost", 2)
    await asyncio.sleep(1)
    assert bench.sender.unconfirmed_bytes() == 320 + 100
    assert bench.sender.losses().lost == 2
    assert bench.sender.alive_at() == pytest.approx(answered_at, abs=0.05)
    bench.sender.budget.add(-100)
    bench.store.is_away = False
    await until(lambda: live.log.is_empty)
    assert bench.sender.alive_at() > answered_at + 0.9


@timeless()
async def test_audio_that_is_replayed_is_not_unconfirmed(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    bench.store.of().wipe()
    bench.store.takes_no_appends = True
    log = bench.log(live.key)
    log.doubt()
    await until(lambda: log.replayed_bytes == 320)
    bench.hear(live, 1, size=100)
    assert bench.sender.unconfirmed_bytes() == log.unconfirmed_bytes == 100
