"""A store of several parts: what one of them does is no matter of the others."""

import asyncio
from itertools import pairwise

from sender_bench import SenderBench, ears, stream_key, timeless, until

from application.delivery.byte_budget import JOINED_SECONDS, BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.log_registry import TICK_SECONDS
from application.ports.errors import BrokerRefused
from application.ports.telemetry import Losses
from application.time_limit import ANSWER_SECONDS, MAX_RETRY_SECONDS

REWIND = 5.0
SOON = 0.3
"""Longer than a call and the pause after one that failed, shorter than a tick."""


async def one_in_each(bench: SenderBench) -> tuple[LiveStream, LiveStream]:
    """Have a stream in part `a` and one in part `b`, of which everything is confirmed."""
    keys = stream_key("one"), stream_key("two")
    bench.store.parts = dict(zip(keys, "ab", strict=True))
    one, two = [await bench.begin(stream=key) for key in keys]
    bench.hear(one, 0)
    bench.hear(two, 0)
    await until(lambda: bench.sender.unpublished() == 0)
    return one, two


def is_acked(live: LiveStream, seq: int) -> bool:
    return ears(live).acked[-1:] == [seq]


@timeless()
async def test_a_part_that_is_stuck_keeps_the_rounds_of_no_other_waiting(
    bench: SenderBench,
) -> None:
    one, two = await one_in_each(bench)
    bench.store.stuck = {"a"}
    for seq in range(1, 50):
        bench.hear(one, seq)
        bench.hear(two, seq)
        assert await until(lambda seq=seq: is_acked(two, seq)) < SOON  # type: ignore[misc]
    assert is_acked(one, 0)
    bench.store.stuck = set()
    await until(lambda: is_acked(one, 49))
    assert bench.store.seqs(one.key) == bench.store.seqs(two.key) == list(range(50))


@timeless()
async def test_a_call_names_streams_of_one_part(bench: SenderBench) -> None:
    keys = [stream_key(f"s{n}") for n in range(9)]
    bench.store.parts = {key: "abc"[n % 3] for n, key in enumerate(keys)}
    lives = [await bench.begin(stream=key) for key in keys]
    for live in lives:
        bench.hear(live, 0, 1)
    await until(lambda: bench.sender.unpublished() == 0)
    for call in bench.store.calls:
        assert len({bench.store.part_of(key) for key in call.streams}) == 1


@timeless()
async def test_a_part_that_fails_puts_only_its_own_logs_in_doubt(bench: SenderBench) -> None:
    one, two = await one_in_each(bench)
    doubts: list[str] = []
    bench.sender.on_doubt = doubts.append
    bench.store.parted = {"a"}
    bench.hear(one, 1)
    await until(lambda: not bench.sender.is_in_sync("a"))
    asked = len(bench.store.calls)
    bench.hear(two, 1)
    assert await until(lambda: is_acked(two, 1)) < SOON
    assert bench.sender.is_in_sync("b")
    assert bench.log(two.key).is_in_sync
    assert set(doubts) == {"a"}
    bench.store.parted = set()
    await until(lambda: bench.sender.is_in_sync("a"))
    assert is_acked(one, 1)
    later = [call for call in bench.store.calls[asked:] if two.key in call.streams]
    assert {call.kind for call in later} == {"append"}
    assert set(doubts) == {"a"}


@timeless()
async def test_a_log_whose_stream_moves_is_served_by_the_part_that_has_it(
    bench: SenderBench,
) -> None:
    one, _ = await one_in_each(bench)
    bench.store.parts[one.key] = "b"
    await asyncio.sleep(TICK_SECONDS + 0.1)
    bench.store.stuck = {"a"}
    bench.hear(one, 1)
    assert await until(lambda: is_acked(one, 1)) < SOON


@timeless()
async def test_work_that_waits_for_a_part_goes_where_its_stream_goes(bench: SenderBench) -> None:
    one, _ = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.hear(one, 1)
    await until(lambda: not bench.sender.is_in_sync("a"))
    bench.store.parts[one.key] = "b"
    assert await until(lambda: is_acked(one, 1)) < TICK_SECONDS + SOON
    assert bench.store.seqs(one.key) == [0, 1]


@timeless()
async def test_work_that_waits_for_its_turn_goes_where_its_stream_goes(bench: SenderBench) -> None:
    one, _ = await one_in_each(bench)
    others = [stream_key(name) for name in ("three", "four")]
    bench.store.parts |= dict.fromkeys(others, "a")
    lives = [await bench.begin(stream=key) for key in others]
    bench.store.stuck = {"a"}
    for live in lives:  # as many rounds as are sent at once
        bench.hear(live, 0)
        await until(lambda live=live: live.key in bench.store.calls[-1].streams)  # type: ignore[misc]
    bench.hear(one, 1)
    bench.store.parts[one.key] = "b"
    assert await until(lambda: is_acked(one, 1)) < TICK_SECONDS + SOON


@timeless()
async def test_an_append_in_flight_when_its_stream_moves_is_made_again_at_the_other_part(
    bench: SenderBench,
) -> None:
    one, _ = await one_in_each(bench)
    bench.store.stuck = {"a"}
    bench.hear(one, 1)
    await until(lambda: one.key in bench.store.calls[-1].streams)
    bench.store.parts[one.key] = "b"
    await asyncio.sleep(TICK_SECONDS + 0.1)
    bench.hear(one, 2)
    assert await until(lambda: is_acked(one, 2)) < ANSWER_SECONDS + SOON
    assert bench.store.seqs(one.key) == [0, 1, 2]


@timeless()
async def test_a_part_that_answers_when_it_has_no_stream_any_more_is_served_on(
    bench: SenderBench,
) -> None:
    one, _ = await one_in_each(bench)
    bench.store.seconds = 2 * TICK_SECONDS
    bench.hear(one, 1)
    await asyncio.sleep(SOON)
    bench.store.parts[one.key] = "b"
    await until(lambda: is_acked(one, 1))
    bench.store.parts[one.key] = "a"
    bench.hear(one, 2)
    await until(lambda: is_acked(one, 2))


@timeless()
async def test_a_doubt_goes_where_its_stream_goes(bench: SenderBench) -> None:
    one, two = await one_in_each(bench)
    bench.sender.note_failure("a")
    bench.store.parts[one.key] = "b"
    asked = len(bench.store.calls)
    bench.store.stuck = {"b"}
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert not bench.sender.is_in_sync("b")
    bench.store.stuck = set()
    await until(lambda: bench.sender.is_in_sync("b"))
    heads = [call for call in bench.store.calls[asked:] if call.kind == "heads"]
    assert {key for call in heads for key in call.streams} == {one.key}
    assert bench.log(two.key).is_in_sync


@timeless()
async def test_a_doubt_that_is_being_settled_goes_where_its_stream_goes(
    bench: SenderBench,
) -> None:
    one, _ = await one_in_each(bench)
    bench.sender.note_failure("a")
    bench.store.stuck = {"a"}
    bench.sender.note_alive(bench.clock.now, "a")  # the watch reached it
    await until(lambda: bench.store.calls[-1].kind == "heads")
    bench.store.parts[one.key] = "b"
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert bench.sender.is_in_sync("a")  # it has no logs any more
    assert not bench.sender.is_in_sync("b")
    assert await until(lambda: bench.sender.is_in_sync("b")) < ANSWER_SECONDS + SOON


def kept(bench: SenderBench, live: LiveStream) -> int:
    """How many frames of a stream are retained."""
    return bench.log(live.key)._holdings.retained.frames_from(0)


@timeless()
async def test_a_part_lets_go_of_nothing_while_it_has_not_proved_what_it_has(
    bench: SenderBench,
) -> None:
    one, two = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.sender.note_failure("a")
    await asyncio.sleep(10 * REWIND)
    assert kept(bench, one) == 1
    bench.store.parted = set()
    await until(lambda: bench.sender.is_in_sync("a"))
    await until(lambda: not kept(bench, one) and not kept(bench, two), 3 * REWIND)


@timeless()
async def test_what_is_retained_gets_old_with_its_own_part(bench: SenderBench) -> None:
    """A part that is away makes the process hold no more of the others."""
    one, two = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.hear(one, 1)
    for seq in range(1, 1_000):
        bench.hear(two, seq)
        await asyncio.sleep(0.1)
        assert kept(bench, two) <= (REWIND + JOINED_SECONDS + TICK_SECONDS) / 0.1
    assert kept(bench, one) == 1
    assert bench.telemetry.short_frames == 0


@timeless(limits=BufferLimits(45, 10 * 320, REWIND))
async def test_the_bound_is_of_all_parts_together_and_the_oldest_makes_room(
    bench: SenderBench,
) -> None:
    one, two = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.hear(one, *range(1, 5))
    for seq in range(1, 10):
        bench.hear(two, seq)
        await until(lambda seq=seq: is_acked(two, seq))  # type: ignore[misc]
        await asyncio.sleep(2 * JOINED_SECONDS)
        assert sum(bench.sender.budget.held_bytes) <= 10 * 320
    assert (kept(bench, one), kept(bench, two)) == (0, 6)
    assert bench.telemetry.short_frames == 5


@timeless()
async def test_what_is_retained_gets_old_with_the_part_that_has_its_stream_now(
    bench: SenderBench,
) -> None:
    one, two = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.sender.note_failure("a")
    bench.store.parts[one.key] = "b"
    await until(lambda: not kept(bench, one) and not kept(bench, two), 3 * REWIND)
    assert bench.telemetry.short_frames == 0


@timeless()
async def test_a_part_without_logs_keeps_nothing_held_however_long_it_is_away(
    bench: SenderBench,
) -> None:
    one, two = await one_in_each(bench)
    bench.sender.note_failure("c")  # it is gone, or was the whole before its parts were known
    bench.sender.note_failure()
    for seq in range(1, 4):
        await asyncio.sleep(REWIND + JOINED_SECONDS)
        bench.hear(one, seq)
        bench.hear(two, seq)
    await until(lambda: is_acked(one, 3) and is_acked(two, 3))
    assert kept(bench, one) + kept(bench, two) < 8


@timeless()
async def test_a_part_that_comes_while_the_sender_runs_is_served(bench: SenderBench) -> None:
    await one_in_each(bench)
    key = stream_key("three")
    bench.store.parts[key] = "late"
    live = await bench.begin(stream=key)
    bench.hear(live, 0)
    assert await until(lambda: is_acked(live, 0)) < SOON


@timeless()
async def test_a_part_that_comes_when_the_sender_has_ended_is_served_no_more(
    bench: SenderBench,
) -> None:
    other, key = SenderBench(bench.clock, beside=bench), stream_key("late")
    await asyncio.sleep(0)
    await other.close()
    bench.store.parts[key] = "late"
    assert other.log(key).part == "late"
    assert other.sender.unpublished("late") == 0


@timeless()
async def test_a_stream_that_moves_is_counted_by_the_part_that_has_it(bench: SenderBench) -> None:
    one, two = await one_in_each(bench)
    bench.store.parted = {"a", "b"}
    bench.hear(one, 1)
    bench.hear(two, 1)
    await until(lambda: not bench.sender.is_in_sync("a"))
    bench.store.parts[one.key] = "b"
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert [bench.sender.unpublished(part) for part in "ab"] == [0, 2]
    assert [bench.sender.unconfirmed_bytes(part) for part in "ab"] == [0, 640]


@timeless()
async def test_a_stream_that_pauses_when_it_moves_is_not_tried_before_its_time(
    bench: SenderBench,
) -> None:
    one, _ = await one_in_each(bench)
    bench.store.failing[one.key] = BrokerRefused("WRONGTYPE")
    bench.hear(one, 1)
    await asyncio.sleep(2 * MAX_RETRY_SECONDS)
    bench.store.parts[one.key] = "b"
    before = len(bench.store.appended(one.key))
    for _ in range(100):
        one.log.doubt()
        await asyncio.sleep(TICK_SECONDS / 50)
    tries = [call.at for call in bench.store.appended(one.key)[before:]]
    assert min(later - at for at, later in pairwise(tries)) > 0.9 * MAX_RETRY_SECONDS


@timeless()
async def test_what_a_refused_stream_retains_stays_when_its_stream_moves(
    bench: SenderBench,
) -> None:
    """The broker is back without it, and lacks a right for a while."""
    one, two = await one_in_each(bench)
    bench.store.of(one.key).wipe()
    bench.store.failing[one.key] = BrokerRefused("NOPERM")
    bench.store.epochs[one.key] = 1
    await until(lambda: not bench.log(one.key).is_in_sync)
    await until(lambda: bench.sender.is_in_sync("a"))
    bench.store.parts[one.key] = "b"
    await until(lambda: not kept(bench, two), 4 * REWIND)
    assert kept(bench, one) == 1
    bench.store.failing.clear()
    await until(lambda: bench.store.seqs(one.key) == [0])
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_what_is_given_up_is_lost_in_the_part_of_its_stream(bench: SenderBench) -> None:
    one, two = await one_in_each(bench)
    bench.store.parted = {"a"}
    bench.hear(one, 1, 2)
    one.log.abandon()
    one.log.leave(one)
    assert bench.sender.losses("a") == Losses(2, 0, 0)
    assert bench.sender.losses("b") == Losses(0, 0, 0)
    assert is_acked(two, 0)


@timeless()
async def test_what_each_part_lost_and_replayed_adds_up(bench: SenderBench) -> None:
    one, _ = await one_in_each(bench)
    for _ in range(2):
        bench.store.of(one.key).wipe()
        one.log.note_dropped(3)
        bench.log(one.key).doubt()
        await until(lambda: bench.sender.unpublished() == 0)
    assert bench.sender.losses("a") == Losses(lost=6, replayed=2, rebased=2)
    assert bench.sender.losses("b") == Losses(0, 0, 0)
