"""Batches that wait for company: how long, with whom, and what sends them sooner."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sender_bench import SenderBench, ears, stream_key, timeless, until
from virtual_time import HandDrivenClock

from application.delivery.byte_budget import BufferLimits
from application.delivery.linger import TOGETHER
from application.delivery.retained import BATCH_ENTRIES
from domain.events import EndReason, Resume

LINGER = 0.1
LINGERING = BufferLimits(
    buffer_seconds=1_000, buffer_bytes=1 << 30, rewind_seconds=5, linger_seconds=LINGER
)


def seqs_of_calls(bench: SenderBench, began: int) -> list[list[int]]:
    return [call.seqs for call in bench.store.calls[began:] if call.seqs]


@timeless(limits=LINGERING)
async def test_frames_that_come_within_the_time_are_one_append(bench: SenderBench) -> None:
    live = await bench.begin()
    began, at = len(bench.store.calls), bench.clock.now
    for seq in range(3):
        bench.hear(live, seq)
        await asyncio.sleep(0.02)
    await until(lambda: live.log.is_empty)
    assert seqs_of_calls(bench, began) == [[0, 1, 2]]
    assert bench.store.calls[began].at - at == pytest.approx(LINGER)


@timeless(limits=LINGERING)
async def test_a_batch_waits_from_its_first_frame_and_not_from_its_last(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    began, at = len(bench.store.calls), bench.clock.now
    for seq in range(40):
        bench.hear(live, seq)
        await asyncio.sleep(0.02)
    await until(lambda: live.log.is_empty)
    assert all(len(seqs) in (5, 6) for seqs in seqs_of_calls(bench, began)[:-1])
    assert bench.store.calls[began].at - at <= LINGER + 1e-6


@timeless(limits=LINGERING)
async def test_frames_after_an_append_in_flight_wait_as_long(bench: SenderBench) -> None:
    live = await bench.begin()
    began = len(bench.store.calls)
    bench.store.seconds = 0.03
    bench.hear(live, 0)
    await asyncio.sleep(LINGER + 0.01)  # in flight
    bench.hear(live, 1)
    put_at = bench.clock.now
    await until(lambda: live.log.is_empty)
    assert seqs_of_calls(bench, began) == [[0], [1]]
    assert bench.store.calls[-1].at - put_at > LINGER * (1 - TOGETHER)


@timeless(limits=LINGERING)
async def test_batches_of_streams_that_are_due_soon_leave_together(bench: SenderBench) -> None:
    lives = [await bench.begin(stream=stream_key(f"s{number}")) for number in range(8)]
    began = len(bench.store.calls)
    for live in lives:
        bench.hear(live, 0)
        await asyncio.sleep(LINGER * TOGETHER / 10)
    await until(lambda: bench.sender.unpublished() == 0)
    assert len(bench.store.calls) - began == 1


@timeless(limits=LINGERING)
async def test_a_batch_that_is_due_later_waits_its_own_time(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    first, later = [await bench.begin(stream=stream_key(name)) for name in ("first", "later")]
    began = len(bench.store.calls)
    bench.hear(first, 0)
    await asyncio.sleep(LINGER / 2)
    put_at = bench.clock.now
    bench.hear(later, 0)
    await until(lambda: bench.sender.unpublished() == 0)
    assert len(bench.store.calls) - began == 2
    assert bench.store.calls[-1].at - put_at == pytest.approx(LINGER)
    assert not caplog.records, "no timer fails"


@timeless(limits=LINGERING)
async def test_an_end_a_full_batch_and_a_flush_wait_for_nothing(bench: SenderBench) -> None:
    ended, full, flushed = [await bench.begin(stream=stream_key(name)) for name in "abc"]
    at = bench.clock.now
    bench.hear(ended, 0)
    bench.end(ended, EndReason.ENDED)
    bench.hear(full, *range(BATCH_ENTRIES))
    await until(lambda: ended.log.is_empty and full.log.is_empty)
    bench.hear(flushed, 0)
    await bench.sender.flush(5)
    assert bench.sender.unpublished() == 0
    assert bench.clock.now - at < LINGER


@timeless(limits=LINGERING)
async def test_a_batch_that_makes_an_ack_due_waits_for_nothing(bench: SenderBench) -> None:
    live = await bench.begin()
    live.frames_to_ack = 3
    at = bench.clock.now
    bench.hear(live, 0, 1)
    await asyncio.sleep(0.01)
    assert ears(live).acked == []
    bench.hear(live, 2)
    await until(lambda: live.log.is_empty)
    assert bench.clock.now - at < LINGER
    assert ears(live).acked == [2]


@timeless(limits=LINGERING)
async def test_a_session_that_is_closed_has_what_is_put_sent(bench: SenderBench) -> None:
    live = await bench.begin()
    at = bench.clock.now
    bench.hear(live, 0)
    live.log.hurry()
    await until(lambda: live.log.is_empty)
    assert bench.clock.now - at < LINGER


@timeless(limits=LINGERING)
async def test_a_start_of_the_stream_does_not_wait_for_what_lingers(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.seconds = LINGER / 20
    bench.hear(live, 0)
    live.log.hurry()
    await asyncio.sleep(LINGER / 40)  # in flight
    bench.hear(live, 1)
    at = bench.clock.now
    await bench.begin(Resume())
    assert bench.clock.now - at < LINGER / 2
    assert bench.store.seqs() == [0, 1]


@timeless()
async def test_without_a_linger_nothing_waits(bench: SenderBench) -> None:
    live = await bench.begin()
    at = bench.clock.now
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    assert bench.clock.now - at <= 0.02


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.3)), max_size=30),
    st.sampled_from([0.0, 0.005, 0.04, 0.2]),
)
def test_every_batch_leaves_in_its_time_and_all_frames_in_order(
    frames: list[tuple[int, float]], linger: float
) -> None:
    @timeless(limits=BufferLimits(1_000, 1 << 30, 5, linger))
    async def live_through(bench: SenderBench) -> None:
        lives = [await bench.begin(stream=stream_key(str(number))) for number in range(4)]
        clock: HandDrivenClock = bench.clock
        came: dict[tuple[int, int], float] = {}
        seqs = [0] * 4
        for number, pause in frames:
            came[number, seqs[number]] = clock.now
            bench.hear(lives[number], seqs[number])
            seqs[number] += 1
            await asyncio.sleep(pause)
        await until(lambda: bench.sender.unpublished() == 0)
        for number, live in enumerate(lives):
            assert bench.store.seqs(live.key) == list(range(seqs[number]))
            for call in bench.store.appended(live.key)[1:]:
                for append in call.appends:
                    if append.stream == live.key:
                        first = append.segments[0].entries[0]
                        waited = call.at - came[number, getattr(first, "seq")]  # noqa: B009
                        assert waited <= linger + 1e-6

    live_through()


@timeless(limits=LINGERING)
async def test_a_close_ends_only_the_waits_of_before(bench: SenderBench) -> None:
    one, two = [await bench.begin(stream=stream_key(name)) for name in ("one", "two")]
    linger = bench.sender._linger
    linger.close()  # nothing waits
    bench.hear(one, 0)
    linger.close()
    await asyncio.sleep(2 * LINGER)
    assert bench.store.seqs(one.key) == []
    bench.hear(two, 0)
    await asyncio.sleep(2 * LINGER)
    assert [bench.store.seqs(live.key) for live in (one, two)] == [[], [0]]


@pytest.mark.parametrize("is_acked", [True, False])
@timeless(limits=LINGERING)
async def test_a_batch_that_becomes_due_after_an_append_in_flight_follows_its_answer(
    bench: SenderBench, *, is_acked: bool
) -> None:
    live = await bench.begin()
    bench.store.seconds = 5 * LINGER
    bench.hear(live, 0)
    await asyncio.sleep(1.5 * LINGER)
    if is_acked:
        live.frames_to_ack = 1  # it is due at once
    bench.hear(live, 1)
    assert await until(lambda: live.log.is_empty) < 10 * LINGER
