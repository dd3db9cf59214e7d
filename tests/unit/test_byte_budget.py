"""The audio that a process may hold, of all streams together."""

import asyncio

import pytest
from batches import LIMITS, CheckedBudget, frames_at
from stream_parts import now

from application.delivery.batch import Batch
from application.delivery.byte_budget import (
    JOINED_SECONDS,
    MIN_ENTRIES,
    BufferLimits,
    Holder,
)
from application.ports.telemetry import HeldBytes


class Recorder(Holder):
    """Retains batches, and lets the first go when it is told to."""

    def __init__(self, budget: CheckedBudget) -> None:
        self.budget = budget
        self.let_gone: list[Batch] = []

    def retain(self, batch: Batch, now: float) -> None:
        batch.is_retained, batch.retained_at = True, now
        self.budget.retain(self, batch)

    def let_go(self, batch: Batch) -> None:
        self.let_gone.append(batch)
        batch.is_retained = False
        self.budget.grow_retained(-batch.audio_bytes)


def test_what_is_held_is_told_whenever_it_is_asked_for() -> None:
    budget = CheckedBudget()
    budget.add(640)
    Recorder(budget).retain(frames_at(1, 0), 0.0)
    assert budget.telemetry.held_bytes() == budget.held_bytes == HeldBytes(640, 320)


def test_a_process_is_full_at_its_bound_and_not_before() -> None:
    budget = CheckedBudget()
    budget.add(LIMITS.buffer_bytes - 1)
    assert not now(budget.is_full)
    budget.add(1)
    assert now(budget.is_full)
    budget.add(-1)
    assert not now(budget.is_full)


def test_retained_audio_makes_room_oldest_first_and_that_is_counted() -> None:
    budget = CheckedBudget(BufferLimits(45, 1_000, 5))
    first, second = Recorder(budget), Recorder(budget)
    batches = [frames_at(1, 0), frames_at(1, 1), frames_at(2, 2)]
    for holder, batch in zip((first, second, first), batches, strict=True):
        holder.retain(batch, 0.0)
    budget.add(320)
    assert first.let_gone == batches[:1]
    assert budget.held_bytes == HeldBytes(320, 640)
    assert budget.telemetry.short_frames == 1
    budget.add(640)
    assert second.let_gone == batches[1:2]
    assert first.let_gone == [batches[0], batches[2]]
    assert budget.held_bytes == HeldBytes(960, 0)
    assert not budget.is_full


def test_what_is_confirmed_beyond_the_bound_is_let_go_at_once() -> None:
    budget = CheckedBudget(BufferLimits(45, 500, 5))
    holder = Recorder(budget)
    holder.retain(frames_at(1, 0), 0.0)
    holder.retain(frames_at(2, 1), 0.0)
    assert budget.held_bytes.retained == 320


def test_a_batch_that_is_queued_again_frees_nothing_and_is_passed_over() -> None:
    budget = CheckedBudget(BufferLimits(45, 1_000, 5))
    holder = Recorder(budget)
    again, other = frames_at(1, 0), frames_at(2, 1)
    holder.retain(again, 0.0)
    holder.retain(other, 0.0)
    again.is_retained = False
    budget.grow_retained(-again.audio_bytes)
    budget.add(700)
    assert holder.let_gone == [other]
    assert budget.telemetry.short_frames == 1


def test_what_is_old_is_let_go_and_not_counted_as_short() -> None:
    budget = CheckedBudget()
    holder = Recorder(budget)
    batches = [frames_at(1, 0), frames_at(2, 1)]
    holder.retain(batches[0], 100.0)
    holder.retain(batches[1], 101.0)
    age = LIMITS.rewind_seconds + JOINED_SECONDS
    budget.let_go_of_old(100.0 + age - 0.001)
    assert holder.let_gone == []
    budget.let_go_of_old(100.0 + age)
    assert holder.let_gone == batches[:1]
    budget.let_go_of_old(101.0 + age)
    assert holder.let_gone == batches
    assert budget.telemetry.short_frames == 0
    assert not any(budget._retained.values())


def test_dead_batches_are_known_for_no_longer_than_the_living() -> None:
    budget = CheckedBudget()
    holder = Recorder(budget)
    for number in range(100):
        batch = frames_at(1, 0)
        holder.retain(batch, float(number))
        batch.is_retained = False
        budget.grow_retained(-batch.audio_bytes)
        budget.let_go_of_old(float(number))
    assert len(budget._retained[""]) <= LIMITS.rewind_seconds + 2


async def test_waiting_for_room_ends_when_there_is_some() -> None:
    budget = CheckedBudget()
    budget.add(LIMITS.buffer_bytes + 320)
    waiting = [asyncio.create_task(budget.wait_for_room()) for _ in range(3)]
    await asyncio.sleep(0)
    budget.add(-320)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting), "it is still full"
    budget.add(-1)
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await asyncio.wait_for(budget.wait_for_room(), 10)


async def test_room_that_is_taken_again_before_a_waiter_wakes_is_waited_for_once_more() -> None:
    budget = CheckedBudget()
    budget.add(LIMITS.buffer_bytes)
    waiting = asyncio.create_task(budget.wait_for_room())
    await asyncio.sleep(0)
    budget.add(-320)
    budget.add(320)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    budget.add(-320)
    await asyncio.wait_for(waiting, 10)


@pytest.mark.parametrize(("seconds", "entries"), [(45, 4_500), (1, MIN_ENTRIES), (0, MIN_ENTRIES)])
def test_a_stream_may_have_so_many_entries_however_little_audio_is_in_them(
    seconds: float, entries: int
) -> None:
    assert BufferLimits(buffer_seconds=seconds).stream_entries == entries


def test_a_sender_is_kept_twice_as_long_as_is_buffered() -> None:
    assert BufferLimits(buffer_seconds=45).stalled_seconds == 90


def test_calls_that_have_not_started_may_hold_a_quarter_of_the_bytes_together() -> None:
    budget = CheckedBudget(BufferLimits(45, 4 * 640, 5))
    budget.add_early(320)
    assert budget.takes_early(320)
    assert not budget.takes_early(321)
    budget.add_early(320)
    assert not budget.takes_early(1)
    budget.add_early(-640)
    assert budget.takes_early(640)
