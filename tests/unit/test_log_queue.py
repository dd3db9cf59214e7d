"""What a session does with the log of its stream: it puts entries, and waits for their fate."""

import asyncio
from collections.abc import Coroutine

import pytest
from log_bench import LogBench, entries_of, frames_of
from stream_model import LOST
from stream_parts import frame, now

from application.delivery.byte_budget import BufferLimits
from application.delivery.log_queue import MAX_UNPACKED, PACK_AFTER_SECONDS
from application.delivery.retained import BATCH_ENTRIES
from application.ports.errors import BrokerUnavailable
from application.ports.store import Conflict, Failed
from domain.account import Account, State
from domain.entries import SignalNoted
from domain.events import Resume, Signal
from domain.ledger import Ledger


async def live() -> LogBench:
    bench = LogBench()
    bench.start()
    bench.work.clear()
    return bench


async def waiting(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def is_over(task: "asyncio.Task[None]") -> bool:
    for _ in range(3):
        await asyncio.sleep(0)
    return task.done()


async def test_a_log_without_entries_is_empty_and_has_nothing_to_send() -> None:
    bench = await live()
    assert now(bench.log.is_empty)
    assert not now(bench.log.is_full)
    assert bench.log.take() is None


async def test_the_sender_is_told_of_work_once_for_what_is_open() -> None:
    bench = await live()
    bench.hear(0)
    assert bench.work == [bench.log]
    bench.hear(1, 2)
    assert bench.work == [bench.log]
    bench.log.put_account(bench.here)
    assert bench.work == [bench.log] * 2


async def test_entries_leave_in_the_order_in_which_they_came() -> None:
    bench = await live()
    bench.hear(0, 1, 5, 6)
    first = bench.append()
    bench.answer(first)
    bench.hear(7)
    second = bench.append()
    assert [s.first_position for a in (first, second) for s in a.segments] == [1, 6]
    assert second.expected == first.head.revision
    assert frames_of(second) == [7]


async def test_one_append_is_in_flight_at_a_time() -> None:
    bench = await live()
    bench.hear(0)
    append = bench.append()
    bench.hear(1)
    bench.doubt()
    assert bench.log.take() is None
    assert not now(bench.log.is_empty)
    bench.answer(append)
    assert frames_of(bench.append()) == [1]


async def test_an_append_is_closed_when_it_has_many_entries() -> None:
    bench = await live()
    bench.hear(*range(3 * BATCH_ENTRIES + 1))
    sizes = []
    while not bench.log.is_empty:
        append = bench.append()
        sizes.append(len(entries_of(append)))
        bench.answer(append)
    assert sizes == [BATCH_ENTRIES] * 3 + [1]


async def test_an_append_carries_the_account_after_exactly_its_own_entries() -> None:
    bench = await live()
    bench.hear(*range(BATCH_ENTRIES))
    bench.hear(BATCH_ENTRIES, BATCH_ENTRIES)
    bench.here.interaction.refuse()
    count = BATCH_ENTRIES
    ledger = Ledger(count, count, bytes=count * 320, audio_ms=count * 20)
    append = bench.append()
    assert append.head.account == Account(count + 1, 0, count - 1, ledger)
    bench.answer(append)
    count += 1
    ledger = Ledger(count + 2, count, 1, 1, bytes=count * 320, audio_ms=count * 20)
    append = bench.append()
    assert append.head.account == Account(count + 1, 0, count - 1, ledger)


async def test_an_account_is_published_without_an_entry() -> None:
    bench = await live()
    bench.here.interaction.refuse()
    bench.cut()
    assert not now(bench.log.is_empty)
    append = bench.append()
    assert append.segments == []
    assert append.head.account.state is State.CUT
    assert append.head.account.ledger.rejected == 1
    assert append.head.next_position == 1
    assert not now(bench.log.is_empty)
    bench.answer(append)
    assert now(bench.log.is_empty)
    assert bench.log.take() is None
    assert bench.here.published.state is State.CUT


async def test_an_account_of_a_generation_that_is_written_no_more_is_not_published() -> None:
    bench = await live()
    older = bench.here
    bench.start(Resume())
    bench.log.put_account(older)
    assert now(bench.log.is_empty)


async def test_what_is_confirmed_is_told_to_the_listener_and_to_the_telemetry() -> None:
    bench = await live()
    told: list[tuple[int, int | None]] = []
    bench.heard_by.on_confirmed = lambda *it: told.append(it)  # type: ignore[method-assign]
    bench.clock.now = 2_005.0
    bench.hear(3, 4)
    bench.clock.now = 2_006.0
    bench.hear(9)
    bench.settle()
    assert told == [(3, 9)]
    assert bench.telemetry.confirm_seconds == [1.0, 1.0, 0.0]
    bench.hear(10, 11)
    bench.append()
    bench.log.settle_append(Failed(BrokerUnavailable("away")))
    bench.hear(12)
    bench.store.wipe()
    bench.settle()  # the batches of a rebase are confirmed at once
    assert sum(frames for frames, _ in told) == 6
    assert told[-1][1] == 12


async def test_a_generation_without_a_listener_is_confirmed_and_fenced_all_the_same() -> None:
    bench = await live()
    older = bench.here
    older.listener = None
    bench.hear(0)
    bench.settle()
    bench.start(Resume())
    assert older.is_fenced
    assert bench.stored_seqs() == [0]


async def test_a_listener_is_told_once_that_it_is_fenced() -> None:
    bench = await live()
    told = []
    bench.heard_by.on_fenced = lambda: told.append(1)  # type: ignore[method-assign]
    older = bench.here
    bench.start(Resume())
    older.tell_fenced()
    assert told == [1]


@pytest.mark.parametrize(("count", "size"), [(4_500, 2), (8, 100_000)])
async def test_a_stream_is_not_read_while_it_has_as_much_as_it_may_have(
    count: int, size: int
) -> None:
    bench = await live()
    bench.hear(*range(count - 1), size=size)
    assert not now(bench.log.is_full)  # 45 s at 8 kHz are 720,000 bytes
    bench.hear(count - 1, size=size)
    assert now(bench.log.is_full)
    bench.answer(bench.append())
    assert not now(bench.log.is_full)


async def test_signals_fill_the_buffer_too() -> None:
    bench = await live()
    details = "x" * 4_096
    for _ in range(-(-45 * 16_000 // len(details))):
        assert not now(bench.log.is_full)
        bench.put(bench.here.interaction.note(Signal.MARK, details))
    assert now(bench.log.is_full)


async def test_a_stream_is_not_read_while_the_process_is_full() -> None:
    bench = LogBench(limits=BufferLimits(45, 1_000, 5))
    bench.start()
    bench.budget.add(1_000)
    assert now(bench.log.is_full)
    bench.budget.add(-1)
    assert not now(bench.log.is_full)


async def test_what_is_buffered_for_long_is_packed_and_comes_out_as_it_went_in() -> None:
    bench = await live()
    bench.hear(0)
    bench.append()
    bench.log.settle_append(LOST)
    bench.hear(*range(1, 600), 700)
    bench.note()
    window = bench.log._window
    assert any(batch.packed is not None for batch in window.queued)
    bench.settle()
    assert [e for e in bench.stored() if isinstance(e, type(frame(0)))] == [
        frame(seq) for seq in (*range(600), 700)
    ]
    assert isinstance(bench.stored()[-1], SignalNoted)
    assert bench.unconfirmed == 0


async def test_what_is_sent_soon_is_not_packed() -> None:
    bench = await live()
    bench.hear(*range(BATCH_ENTRIES * MAX_UNPACKED))
    assert all(batch.packed is None for batch in bench.log._window.queued)
    bench.hear(*range(BATCH_ENTRIES * MAX_UNPACKED, BATCH_ENTRIES * (MAX_UNPACKED + 2)))
    assert any(batch.packed is not None for batch in bench.log._window.queued)


async def test_what_waits_since_nothing_was_confirmed_is_packed() -> None:
    bench = await live()
    bench.hear(0)
    bench.append()
    bench.clock.now += PACK_AFTER_SECONDS + 0.1
    bench.hear(*range(1, BATCH_ENTRIES + 1))
    assert [batch.packed is not None for batch in bench.log._window.queued] == [True]


async def test_how_long_nothing_is_confirmed_counts_from_each_confirmation() -> None:
    bench = await live()
    log = bench.log
    assert log.stalled_seconds(bench.clock.now) == 0
    bench.hear(0)
    append = bench.append()
    bench.clock.now += 30
    bench.hear(1)
    assert log.stalled_seconds(bench.clock.now) == 30
    bench.answer(append)
    assert log.stalled_seconds(bench.clock.now) == 0
    bench.clock.now += 3
    assert log.stalled_seconds(bench.clock.now) == 3
    bench.settle()
    bench.clock.now += 3
    assert log.stalled_seconds(bench.clock.now) == 0


@pytest.mark.parametrize(("is_catching_up", "stalled"), [(False, 3), (True, 0)])
async def test_nothing_is_confirmed_since_a_frame_was_received_or_its_run_began(
    *, is_catching_up: bool, stalled: int
) -> None:
    """A frame that was held for a start was received long before."""
    bench = await live()
    bench.here.is_catching_up = is_catching_up
    bench.log.put(bench.here, bench.here.interaction.hear(frame(0)), bench.clock.now - 3)
    assert bench.log.stalled_seconds(bench.clock.now) == stalled


async def test_a_log_that_is_full_of_entries_is_not_quiet() -> None:
    bench = await live()
    bench.clock.now += 5
    assert bench.log.quiet_seconds(bench.clock.now) == 5
    bench.hear(0)
    bench.clock.now += 5
    assert bench.log.quiet_seconds(bench.clock.now) == 0
    bench.settle()
    assert bench.log.quiet_seconds(bench.clock.now) == 0
    bench.clock.now += 2
    assert bench.log.quiet_seconds(bench.clock.now) == 2
    bench.doubt()
    assert bench.log.quiet_seconds(bench.clock.now) == 0
    bench.settle()
    bench.clock.now += 1
    assert bench.log.quiet_seconds(bench.clock.now) == 1


# Waits


async def test_waiting_for_room_ends_when_something_is_confirmed() -> None:
    bench = await live()
    bench.hear(*range(2_250))  # 45 s
    task = await waiting(bench.log.wait_for_room(bench.here))
    assert not await is_over(task)
    bench.answer(bench.append())
    await asyncio.wait_for(task, 10)


async def test_waiting_for_room_of_the_process_ends_when_there_is_some() -> None:
    bench = LogBench(limits=BufferLimits(45, 1_000, 5))
    bench.start()
    bench.budget.add(1_000)
    task = await waiting(bench.log.wait_for_room(bench.here))
    assert not await is_over(task)
    bench.budget.add(-1_000)
    await asyncio.wait_for(task, 10)


async def test_waiting_until_empty_ends_when_everything_is_confirmed() -> None:
    bench = await live()
    bench.hear(*range(BATCH_ENTRIES + 1))
    task = await waiting(bench.log.wait_until_empty(bench.here))
    bench.answer(bench.append())
    assert not await is_over(task)
    bench.answer(bench.append())
    await asyncio.wait_for(task, 10)


async def test_waiting_until_empty_waits_for_the_proof_of_a_doubt() -> None:
    bench = await live()
    bench.doubt()
    task = await waiting(bench.log.wait_until_empty(bench.here))
    assert not await is_over(task)
    bench.settle()
    await asyncio.wait_for(task, 10)


async def test_every_wait_ends_when_nothing_more_of_the_generation_is_appended() -> None:
    bench = await live()
    bench.hear(*range(2_250))
    log, here = bench.log, bench.here
    waits = (log.wait_for_room, log.wait_until_empty, log.wait_until_fenced)
    tasks = [await waiting(wait(here)) for wait in waits]
    bench.append()
    bench.log.settle_append(LOST)
    assert not any([await is_over(task) for task in tasks])
    LogBench("b", beside=bench).start(Resume())
    bench.settle()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_only_a_newer_generation_ends_the_wait_for_one() -> None:
    bench = await live()
    older = bench.here
    task = await waiting(bench.log.wait_until_fenced(older))
    bench.hear(0)
    bench.settle()
    assert not await is_over(task)
    bench.start(Resume())
    await asyncio.wait_for(task, 10)


async def test_a_sender_is_read_again_when_the_last_of_two_starts_has_let_go() -> None:
    bench = await live()
    bench.log.hold()
    bench.log.hold()
    task = await waiting(bench.log.wait_for_room(bench.here))
    bench.log.release()
    assert now(bench.log.is_full)
    assert not await is_over(task)
    bench.log.release()
    assert not now(bench.log.is_full)
    await asyncio.wait_for(task, 10)


# Leaving


async def test_a_generation_that_is_left_is_written_no_more_and_what_is_retained_gets_old() -> None:
    bench = await live()
    bench.confirm(0)
    bench.log.leave(bench.here)
    assert bench.log.live is None
    assert not bench.log.is_done
    assert bench.retained == 320
    bench.budget.let_go_of_old(bench.clock.now + 2e6)
    assert bench.log.is_done


async def test_leaving_a_generation_leaves_the_newer_one_alone() -> None:
    bench = await live()
    older = bench.here
    newer = bench.start(Resume())
    bench.log.put_account(newer)
    bench.log.leave(older)
    assert bench.log.live is newer
    assert not now(bench.log.is_empty)


async def test_leaving_a_generation_before_it_has_caught_up_lets_the_next_start_be_decided() -> (
    None
):
    bench = LogBench()
    first, second = bench.request(), bench.request()
    bench.settle()
    live = first.outcome.result()
    assert live.is_catching_up  # type: ignore[union-attr]
    bench.log.leave(live)  # type: ignore[arg-type]
    bench.settle()
    assert second.outcome.done()


async def test_a_generation_that_is_fenced_puts_nothing() -> None:
    bench = await live()
    older = bench.here
    bench.start(Resume())
    bench.hear(0, live=older)
    assert now(bench.log.is_empty)
    assert bench.unconfirmed == 0


# What a session is told


class Listening:
    """A session that notes after which frames it was told, and whether nothing waited then."""

    def __init__(self, bench: LogBench) -> None:
        self.bench = bench
        self.told: list[tuple[int, bool]] = []

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        assert last_seq == 0
        self.told.append((frames, self.bench.log.is_empty))

    def on_fenced(self) -> None:
        raise AssertionError

    def on_stalled(self) -> None:
        raise AssertionError


async def ending_in_doubt() -> tuple[LogBench, Listening]:
    """Have the end of a run in flight while a doubt comes up."""
    bench = await live()
    bench.here.listener = listening = Listening(bench)
    bench.hear(0)
    bench.end()
    return bench, listening


async def test_a_session_is_told_when_a_doubt_that_outlasted_its_end_is_gone() -> None:
    bench, listening = await ending_in_doubt()
    append = bench.append()
    bench.doubt()
    bench.answer(append)
    assert listening.told == [(1, False)]
    bench.probe()
    bench.answer_probe()
    assert listening.told == [(1, False), (0, True)]


async def test_a_session_is_told_of_an_end_whose_answer_was_lost_once_a_probe_finds_it() -> None:
    bench, listening = await ending_in_doubt()
    append = bench.append()
    bench.store.append(append)
    bench.log.settle_append(Conflict(bench.store.head))
    assert listening.told == [(1, True)]


async def test_what_is_confirmed_of_a_newer_run_is_not_published_by_the_older() -> None:
    """Its session may ack once more before it closes."""
    bench = await live()
    older = bench.here
    bench.confirm(0, 1)
    bench.start()
    bench.confirm(0, 1, 2, 3)
    assert bench.here.published.last_seq == 3
    assert older.is_fenced
    assert older.published.last_seq == 1
