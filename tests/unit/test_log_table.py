"""The table of `stream_log`, cell by cell: what a log does with a head that is elsewhere."""

import pytest
from log_bench import LogBench, entries_of, frames_of
from stream_model import LOST
from stream_parts import frame, now

from application.delivery.log_state import LogState, Probe
from domain.account import State
from domain.entries import Ended, Gap, Started
from domain.events import Resume

FAILED = LOST


async def in_sync(*seqs: int) -> LogBench:
    bench = LogBench()
    bench.start()
    bench.confirm(*seqs)
    in_state(bench, LogState.IN_SYNC)
    return bench


async def probing() -> LogBench:
    bench = await in_sync(0, 1, 2)
    bench.doubt()
    bench.probe()
    return in_state(bench, LogState.PROBING)


async def replaying() -> LogBench:
    """Frames 1 and 2 are queued again."""
    bench = await probing()
    bench.store.roll_back(2)
    bench.answer_probe()
    return in_state(bench, LogState.REPLAYING)


async def rebasing() -> LogBench:
    """All is queued again, after nothing."""
    bench = await probing()
    bench.store.wipe()
    bench.answer_probe()
    return in_state(bench, LogState.REBASING)


async def fenced() -> LogBench:
    bench = await in_sync(0, 1, 2)
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.doubt()
    bench.settle()
    return in_state(bench, LogState.FENCED)


def in_state(bench: LogBench, state: LogState) -> LogBench:
    assert bench.state is state
    return bench


def taken_over(bench: LogBench) -> LogBench:
    """Have another process begin after what the store has."""
    other = LogBench("b", beside=bench)
    other.start(Resume())
    return other


# In sync


async def test_in_sync_what_is_appended_is_confirmed() -> None:
    bench = await in_sync()
    bench.hear(3, 4)
    bench.answer(bench.append())
    in_state(bench, LogState.IN_SYNC)
    assert bench.heard_by.acked == 4
    assert (bench.unconfirmed, bench.retained) == (0, 640)
    assert bench.here.published == bench.account


async def test_in_sync_a_store_that_came_back_younger_is_replayed_from_its_head() -> None:
    bench = await in_sync(0, 1, 2)
    bench.store.roll_back(2)
    bench.hear(3)
    bench.answer(bench.append())
    in_state(bench, LogState.REPLAYING)
    assert frames_of(bench.append()) == [1, 2, 3]


async def test_in_sync_a_store_that_came_back_empty_causes_a_rebase() -> None:
    bench = await in_sync(0, 1, 2)
    bench.store.wipe()
    bench.hear(3)
    bench.answer(bench.append())
    in_state(bench, LogState.REBASING)
    bench.settle()
    in_state(bench, LogState.IN_SYNC)
    assert bench.stored_seqs() == [0, 1, 2, 3]
    assert bench.head.lease.generation == bench.here.lease.generation == 2
    assert bench.telemetry.rebased_streams == 1


async def test_in_sync_a_newer_lease_fences() -> None:
    bench = await in_sync(0)
    taken_over(bench)
    bench.hear(1)
    bench.answer(bench.append())
    in_state(bench, LogState.FENCED)
    assert bench.heard_by.is_fenced
    assert bench.lost() == 1
    assert bench.unconfirmed == 0


async def test_in_sync_what_failed_is_sent_again_as_it_was() -> None:
    bench = await in_sync()
    bench.hear(0, 1)
    first = bench.append()
    bench.hear(2)
    bench.log.settle_append(FAILED)
    in_state(bench, LogState.IN_SYNC)
    assert bench.log.backoff.failures == 1
    assert bench.heard_by.acked == -1
    again = bench.append()
    assert entries_of(again) == entries_of(first)
    assert again.expected == first.expected
    assert again.head.revision != first.head.revision, "a revision is never used twice"
    bench.answer(again)
    assert bench.log.backoff.failures == 0


async def test_in_sync_what_was_stored_after_all_is_confirmed_also_without_a_sender() -> None:
    bench = await in_sync(0)
    bench.hear(1)
    bench.log.leave(bench.here)
    bench.store.append(bench.append())
    bench.log.settle_append(FAILED)
    bench.answer(bench.append())
    in_state(bench, LogState.IN_SYNC)
    assert bench.log.is_empty
    assert bench.stored_seqs() == [0, 1]


async def test_in_sync_a_doubt_is_a_probe_if_nothing_is_queued() -> None:
    bench = await in_sync(0)
    bench.doubt()
    assert not now(bench.log.is_in_sync)
    assert not now(bench.log.is_empty)
    assert isinstance(bench.log.take(), Probe)
    in_state(bench, LogState.PROBING)


async def test_in_sync_an_append_proves_as_much_as_a_probe() -> None:
    bench = await in_sync(0)
    bench.doubt()
    bench.hear(1)
    bench.answer(bench.append())
    assert now(bench.log.is_in_sync)
    assert bench.log.take() is None


# Probing


async def test_probing_a_store_that_has_all_of_it_is_in_sync() -> None:
    bench = await probing()
    bench.answer_probe()
    in_state(bench, LogState.IN_SYNC)
    assert now(bench.log.is_in_sync)
    assert now(bench.log.is_empty)


async def test_probing_a_store_that_lacks_a_part_is_replayed_and_frames_are_counted_once() -> None:
    bench = await probing()
    bench.store.roll_back(2)
    bench.answer_probe()
    in_state(bench, LogState.REPLAYING)
    assert bench.unconfirmed == 640
    generation = bench.head.lease.generation
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2]
    assert bench.head.lease.generation == generation
    assert bench.published() == 3
    assert bench.telemetry.replayed_frames == 2
    assert (bench.unconfirmed, bench.retained) == (0, 960)


async def test_probing_a_store_whose_head_is_elsewhere_causes_a_rebase() -> None:
    bench = await probing()
    bench.store.wipe()
    bench.answer_probe()
    in_state(bench, LogState.REBASING)


async def test_probing_a_newer_lease_fences() -> None:
    bench = await probing()
    taken_over(bench)
    bench.answer_probe()
    in_state(bench, LogState.FENCED)
    assert bench.lost() == 0


async def test_probing_that_failed_is_tried_again() -> None:
    bench = await probing()
    bench.log.settle_probe(FAILED, 0)
    in_state(bench, LogState.PROBING)
    assert not now(bench.log.is_in_sync)
    bench.probe()
    bench.answer_probe()
    in_state(bench, LogState.IN_SYNC)


async def test_probing_a_further_doubt_is_settled_by_a_further_probe() -> None:
    """An answer to what was asked before the doubt proves nothing."""
    bench = await probing()
    bench.doubt()
    bench.answer_probe()
    assert not now(bench.log.is_in_sync)
    bench.probe()
    bench.answer_probe()
    assert now(bench.log.is_in_sync)


async def test_what_was_sent_before_a_doubt_proves_nothing() -> None:
    bench = await in_sync()
    bench.hear(0)
    append = bench.append()
    bench.doubt()
    bench.answer(append)
    assert not now(bench.log.is_in_sync)
    bench.settle()
    assert now(bench.log.is_in_sync)


# Replaying


async def test_replaying_is_over_at_the_end_of_what_was_retained() -> None:
    bench = await replaying()
    bench.hear(3)
    first = bench.append()
    assert frames_of(first) == [1, 2]
    bench.answer(first)
    in_state(bench, LogState.IN_SYNC)
    assert not now(bench.log.is_empty)
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2, 3]


async def test_replaying_in_several_appends_is_over_with_the_last() -> None:
    bench = await in_sync()
    for _ in range(3):
        first = bench.here.interaction.unnumbered_seq
        bench.hear(*range(first, first + 100))
        bench.settle()
        bench.clock.now += 1
    bench.store.roll_back(3)
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    for expected in (LogState.REPLAYING, LogState.REPLAYING, LogState.IN_SYNC):
        bench.answer(bench.append())
        in_state(bench, expected)
    assert bench.stored_seqs() == list(range(300))


async def test_replaying_a_store_that_came_back_once_more_is_replayed_from_there() -> None:
    bench = await replaying()
    append = bench.append()
    bench.store.roll_back(1)
    bench.answer(append)
    in_state(bench, LogState.REPLAYING)
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2]


async def test_replaying_a_store_whose_head_is_elsewhere_causes_a_rebase() -> None:
    bench = await replaying()
    append = bench.append()
    bench.store.wipe()
    bench.answer(append)
    in_state(bench, LogState.REBASING)
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2]
    assert bench.retained == 960


async def test_replaying_a_newer_lease_fences_and_what_is_retained_stays_so() -> None:
    bench = await replaying()
    append = bench.append()
    taken_over(bench)
    bench.answer(append)
    in_state(bench, LogState.FENCED)
    assert (bench.unconfirmed, bench.retained) == (0, 960)


async def test_replaying_what_failed_is_sent_again() -> None:
    bench = await replaying()
    bench.append()
    bench.log.settle_append(FAILED)
    in_state(bench, LogState.REPLAYING)
    assert frames_of(bench.append()) == [1, 2]


async def test_replaying_is_no_proof_before_it_is_over() -> None:
    bench = await replaying()
    assert not now(bench.log.is_in_sync)
    assert not now(bench.log.is_in_doubt)
    bench.doubt()
    append = bench.append()
    bench.doubt()
    bench.answer(append)
    assert now(bench.log.is_in_doubt), "the newest doubt came after it was sent"


# Rebasing


async def test_rebasing_the_rest_is_replayed() -> None:
    bench = await in_sync()
    for _ in range(2):
        first = bench.here.interaction.unnumbered_seq
        bench.hear(*range(first, first + 100))
        bench.settle()
        bench.clock.now += 1
    bench.store.wipe()
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    in_state(bench, LogState.REBASING)
    bench.answer(bench.append())
    in_state(bench, LogState.REPLAYING)
    bench.settle()
    in_state(bench, LogState.IN_SYNC)
    assert bench.stored_seqs() == list(range(200))


async def test_rebasing_whose_answer_was_lost_continues_from_the_head_of_the_store() -> None:
    bench = await rebasing()
    bench.step("answer lost")
    in_state(bench, LogState.REBASING)
    bench.settle()
    in_state(bench, LogState.IN_SYNC)
    assert bench.stored_seqs() == [0, 1, 2]
    assert [type(entry) for entry in bench.stored()].count(Started) == 1


async def test_rebasing_a_store_whose_head_is_elsewhere_again_causes_another_rebase() -> None:
    bench = await rebasing()
    append = bench.append()
    older = LogBench("0", beside=bench)
    older.clock.now -= 100
    older.start()
    older.clock.now += 100
    bench.answer(append)
    in_state(bench, LogState.REBASING)
    bench.settle()
    first, ended, *rest = bench.stored()
    assert isinstance(first, Started)
    assert isinstance(ended, Ended)
    assert [entry for entry in rest if entry in (frame(0), frame(1), frame(2))] == rest[-3:]


async def test_rebasing_a_newer_lease_fences_and_keeps_what_was_confirmed() -> None:
    bench = await rebasing()
    append = bench.append()
    taken_over(bench)
    bench.answer(append)
    in_state(bench, LogState.FENCED)
    assert bench.heard_by.is_fenced
    assert bench.retained == 960


async def test_rebasing_what_failed_is_sent_again_the_same() -> None:
    bench = await rebasing()
    first = bench.append()
    bench.log.settle_append(FAILED)
    in_state(bench, LogState.REBASING)
    assert entries_of(bench.append()) == entries_of(first)


async def test_frames_that_were_heard_before_a_rebase_follow_after_it() -> None:
    bench = await in_sync(0)
    bench.hear(1)
    append = bench.append()
    bench.hear(2)
    bench.store.wipe()
    bench.answer(append)
    bench.hear(3)
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2, 3]
    assert bench.heard_by.acked == 3
    assert bench.published() == 4


# Fenced


async def test_fenced_it_writes_nothing_new() -> None:
    bench = await fenced()
    bench.hear(3)
    assert bench.log.take() is None
    assert bench.unconfirmed == 0


async def test_fenced_a_store_of_its_own_past_is_replayed_under_its_own_lease() -> None:
    bench = await fenced()
    bench.store.roll_back(3)
    generation = bench.head.lease.generation
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    in_state(bench, LogState.FENCED)
    assert frames_of(bench.append()) == [1, 2]
    bench.log.settle_append(FAILED)
    bench.settle()
    in_state(bench, LogState.FENCED)
    assert bench.stored_seqs() == [0, 1, 2]
    assert bench.head.lease.generation == generation


async def test_fenced_a_store_whose_head_is_elsewhere_closes() -> None:
    bench = await fenced()
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    in_state(bench, LogState.CLOSED)
    assert bench.retained == 0
    bench.log.leave(bench.here)
    assert now(bench.log.is_done)


async def test_fenced_by_a_newer_lease_still_it_stays_so() -> None:
    bench = await fenced()
    bench.doubt()
    bench.settle()
    in_state(bench, LogState.FENCED)
    assert now(bench.log.is_in_sync)
    assert bench.retained == 960


async def test_fenced_a_probe_that_failed_is_tried_again() -> None:
    bench = await fenced()
    bench.doubt()
    bench.probe()
    bench.log.settle_probe(FAILED, 0)
    in_state(bench, LogState.FENCED)
    bench.probe()


async def test_what_another_process_began_without_is_lost_and_counted_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await in_sync(0, 1, 2)
    bench.store.roll_back(2)
    taken_over(bench)
    for _ in range(2):
        bench.doubt()
        bench.settle()
    in_state(bench, LogState.FENCED)
    assert bench.telemetry.counted["lost", "rolled_back"] == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_fenced_the_account_is_the_last_that_was_confirmed() -> None:
    bench = await in_sync(0, 1)
    taken_over(bench)
    confirmed = bench.here.published
    bench.hear(2)
    bench.settle()
    assert bench.here.published == confirmed
    assert confirmed.last_seq == 1


# Closed


async def test_closed_it_holds_nothing_and_a_start_opens_it_again() -> None:
    bench = LogBench()
    in_state(bench, LogState.CLOSED)
    assert now(bench.log.is_done)
    bench.doubt()
    assert bench.log.take() is None
    bench.start()
    in_state(bench, LogState.IN_SYNC)


async def test_a_log_that_was_fenced_is_opened_by_its_next_start() -> None:
    bench = await fenced()
    bench.start(Resume())
    in_state(bench, LogState.IN_SYNC)
    bench.confirm(3)
    assert bench.stored_seqs() == [0, 1, 2, 3]
    assert bench.head.run is not None
    assert bench.head.run.name == "a1"


async def test_a_run_whose_end_the_store_has_already_is_ended_once() -> None:
    """Its end was stored by a call whose answer was lost, and the store came back."""
    bench = await in_sync(0)
    bench.end()
    bench.step("answer lost")
    bench.doubt()
    bench.settle()
    assert [type(entry) for entry in bench.stored()].count(Ended) == 1
    assert bench.account.state is State.ENDED
    assert now(bench.log.is_empty)


async def test_an_end_that_was_lost_is_written_again_with_the_ledger_as_it_is_now() -> None:
    bench = await in_sync(0, 1)
    bench.end()
    bench.settle()
    bench.log.leave(bench.here)
    let_go(bench, frames=1)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    ended = bench.stored()[-1]
    assert isinstance(ended, Ended)
    assert (ended.ledger.published, ended.ledger.lost, ended.ledger.missing) == (1, 1, 1)
    assert Gap(0, 1) in bench.stored()
    assert bench.telemetry.counted["lost", "rolled_back"] == 1


def let_go(bench: LogBench, frames: int) -> None:
    """Have the first batches be retained no longer, so many frames in all."""
    retained = bench.log._holdings.retained
    while frames > 0:
        first = retained._batches[0]
        frames -= first.frames
        retained.let_go(first)
