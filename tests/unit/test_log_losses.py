"""What a log makes of a store that lost something: what is acked, counted, kept and trimmed."""

import pytest
from log_bench import LogBench, entries_of, frames_of
from stream_model import LOST
from stream_parts import declared_in, frame, now

from application.delivery.byte_budget import JOINED_SECONDS, BufferLimits
from application.delivery.log_state import LogState
from application.ports.errors import BrokerRefused
from application.ports.store import Failed, Mark
from domain.account import State
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.events import EndReason, Resume
from domain.head import Access

NOTHING_KEPT = BufferLimits(45, 1 << 30, rewind_seconds=0)
FIVE_SECONDS = BufferLimits(45, 1 << 30, rewind_seconds=5)


async def live(*seqs: int, **named: object) -> LogBench:
    bench = LogBench(**named)  # type: ignore[arg-type]
    bench.start()
    bench.confirm(*seqs)
    return bench


def age(bench: LogBench, seconds: float = 6.0) -> None:
    """Let go of what is so old, as a store that is alive has it."""
    bench.clock.now += seconds
    bench.budget.let_go_of_old(bench.clock.now)


def kinds(bench: LogBench) -> list[type]:
    return [type(entry) for entry in bench.stored()]


# Acked


async def test_a_batch_that_was_stored_by_a_call_whose_answer_was_lost_is_acked_once() -> None:
    bench = await live()
    bench.hear(0, 1)
    bench.step("answer lost")
    bench.hear(2)
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2]
    assert bench.published() == 3
    assert bench.heard_by.acked == 2
    assert bench.here.published == bench.account


async def test_a_late_append_changes_nothing() -> None:
    bench = await live()
    bench.hear(0)
    bench.step("late")
    bench.settle()
    bench.store.arrive_late()
    bench.confirm(1)
    assert bench.stored_seqs() == [0, 1]


async def test_the_end_of_another_processes_run_acks_nothing_to_ones_own_sender() -> None:
    """It is an append by itself if much is held: its last seq is that of the other run."""
    bench = await live()
    bench.hear(*range(127))
    bench.settle()
    confirmed = bench.here.published
    bench.store.wipe()
    other = LogBench("b", beside=bench)
    other.clock.now -= 100
    other.start()
    other.clock.now += 100
    other.hear(*range(300, 400))
    other.settle()
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    append = bench.append()
    assert [type(entry) for entry in entries_of(append)] == [Ended]
    assert append.head.begun_at == 0
    told: list[tuple[int, int | None]] = []
    on_confirmed, bench.heard_by.on_confirmed = (  # type: ignore[method-assign]
        bench.heard_by.on_confirmed,
        lambda *it: told.append(it),
    )
    bench.answer(append)
    assert told == []
    bench.heard_by.on_confirmed = on_confirmed  # type: ignore[method-assign]
    assert bench.heard_by.acked == 126
    assert bench.here.published == confirmed
    bench.settle()
    assert bench.stored_seqs()[100:] == list(range(127))
    bench.confirm(127)
    assert bench.heard_by.acked == 127


# Counted


async def test_what_is_known_no_more_is_written_with_what_is_held_and_the_rest_is_lost() -> None:
    bench = await live(0, 1, 2, limits=FIVE_SECONDS)
    age(bench)
    bench.confirm(3, 4)
    bench.hear(6)
    bench.here.interaction.refuse()
    bench.store.wipe()
    bench.settle()
    assert bench.state is LogState.IN_SYNC
    assert bench.stored_seqs() == [3, 4, 6]
    assert declared_in(bench.stored()) == [0, 1, 2, 5]
    ledger = bench.account.ledger
    assert (ledger.lost, ledger.missing, ledger.rejected, ledger.received) == (3, 4, 1, 7)
    assert ledger == bench.here.interaction.ledger
    assert bench.telemetry.counted["lost", "rolled_back"] == 3
    assert bench.lost() == bench.telemetry.total("missing") == 3


async def test_without_a_rewind_everything_confirmed_is_declared() -> None:
    bench = await live(0, 1, limits=NOTHING_KEPT)
    assert bench.retained == 0
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert not bench.heard_by.is_fenced
    assert bench.stored()[-1] == Gap(0, 2)
    bench.confirm(2)
    assert bench.account.ledger.lost == 2
    assert bench.stored_seqs() == [2]


async def test_what_is_lost_of_a_run_is_counted_once_however_many_generations_hold_it() -> None:
    bench = await live(0, 1, limits=FIVE_SECONDS)
    age(bench)
    bench.confirm(2)
    bench.start(Resume())
    bench.confirm(3)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [2, 3]
    assert [e.generation for e in bench.stored() if isinstance(e, Started)] == [3]
    assert bench.lost() == bench.telemetry.total("missing") == 2
    assert bench.account.ledger.lost == 2
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.lost() == 2


@pytest.mark.parametrize("rolled_back", [0, 5])
async def test_what_was_let_go_of_a_run_is_lost_although_a_newer_run_follows(
    rolled_back: int,
) -> None:
    """However often the store loses it; `rolled_back` is to its first frame."""
    bench = await live(0, 1, 2, limits=FIVE_SECONDS)
    age(bench)
    bench.confirm(3)
    bench.start()
    bench.confirm(4)
    if rolled_back:
        bench.store.roll_back(rolled_back)
        bench.doubt()
        bench.settle()
        assert bench.lost() == 2
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [3, 4]
    assert declared_in(bench.stored()) == [0, 1, 2]
    assert bench.lost() == 3


async def test_frames_that_an_older_holder_published_are_found_and_not_written_again() -> None:
    """The store came back to the time of the older holder, to which the sender had sent them."""
    older = await live(0)
    newer = LogBench("b", beside=older)
    newer.clock.now += 1
    newer.start(Resume())
    older.store.roll_back(1)
    older.confirm(1)
    assert not now(older.heard_by.is_fenced)
    newer.hear(1, 2)
    newer.clock.now += 3
    newer.settle()
    assert newer.stored_seqs() == [0, 1, 2]
    assert newer.telemetry.confirm_seconds == [3, 3]
    assert newer.heard_by.acked == 2
    assert newer.published() == 2
    assert newer.lost() == 0
    assert newer.account.ledger == newer.here.interaction.ledger
    older.doubt()
    older.settle()
    assert now(older.heard_by.is_fenced)
    newer.store.wipe()
    newer.doubt()
    newer.settle()
    assert newer.stored_seqs() == [1, 2]
    assert declared_in(newer.stored()) == [0]


async def test_a_stream_that_refuses_by_itself_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "application.delivery")
    bench = await live()
    refused = Failed(BrokerRefused("WRONGTYPE"))
    bench.hear(0)
    for _ in range(3):
        bench.append()
        bench.log.settle_append(refused)
    (told,) = caplog.records
    assert "refuses a stream" in told.message
    assert told.error == "WRONGTYPE"  # type: ignore[attr-defined]
    assert (told.tenant_id, told.stream_id) == ("tenant", "call")  # type: ignore[attr-defined]
    bench.settle()
    bench.hear(1)
    bench.append()
    bench.log.settle_append(refused)
    assert len(caplog.records) == 2


async def test_a_stream_that_refuses_its_first_start_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = LogBench()
    bench.request()
    bench.probe()
    bench.log.settle_probe(Failed(BrokerRefused("WRONGTYPE")), 0)
    (told,) = caplog.records
    assert (told.tenant_id, told.stream_id) == ("tenant", "call")  # type: ignore[attr-defined]


async def test_a_rebase_is_logged_with_its_stream_and_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await live(0, limits=NOTHING_KEPT)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    (told,) = caplog.records
    assert told.lost_frames == 1  # type: ignore[attr-defined]
    assert told.generation == 2  # type: ignore[attr-defined]
    assert told.interaction_id == "call"  # type: ignore[attr-defined]


# The account


async def test_a_cut_is_published_although_the_store_is_where_its_last_frame_is() -> None:
    """The answer of the frame was lost: the store has it, and not the account after it."""
    bench = await live()
    bench.hear(0)
    bench.step("answer lost")
    bench.cut()
    bench.settle()
    assert bench.account.state is State.CUT
    assert bench.stored_seqs() == [0]


@pytest.mark.parametrize("loss", ["roll back", "wipe"])
async def test_a_cut_that_was_lost_is_published_again(loss: str) -> None:
    """The rule: an account is published after a rebase, and after a replay of nothing but it."""
    bench = await live(0)
    bench.here.interaction.refuse()
    bench.cut()
    bench.settle()
    assert bench.account.state is State.CUT
    if loss == "wipe":
        bench.store.wipe()
    else:
        bench.store.roll_back(1)
    bench.doubt()
    bench.settle()
    assert bench.account.state is State.CUT
    assert bench.account.ledger.rejected == 1
    assert bench.stored_seqs() == [0]


async def test_an_account_that_is_due_goes_with_what_is_open() -> None:
    bench = await live()
    bench.hear(0)
    bench.here.interaction.refuse()
    bench.log.put_account(bench.here)
    append = bench.append()
    assert frames_of(append) == [0]
    assert append.head.account.ledger.rejected == 1
    bench.answer(append)
    assert bench.log.take() is None
    assert bench.log.is_empty


async def test_an_account_that_became_due_after_a_full_batch_is_not_left_out() -> None:
    bench = await live()
    bench.hear(*range(128))
    bench.here.interaction.refuse()
    bench.log.put_account(bench.here)
    append = bench.append()
    assert append.head.account.ledger.rejected == 0
    bench.answer(append)
    assert not bench.log.is_empty
    bench.settle()
    assert bench.account.ledger.rejected == 1


async def test_a_signal_after_the_last_frame_is_written_again() -> None:
    bench = await live(0)
    bench.note()
    bench.settle()
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert isinstance(bench.stored()[-1], SignalNoted)
    assert bench.stored_seqs() == [0]


# One key is gone


async def test_entries_that_were_evicted_alone_are_written_again_after_a_new_start() -> None:
    bench = await live(0, 1)
    bench.store.evict_entries()
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [0, 1]
    assert bench.head.lease.generation == 2
    assert not bench.heard_by.is_fenced
    bench.confirm(2)
    assert bench.stored_seqs() == [0, 1, 2]


async def test_facts_that_are_left_of_evicted_entries_are_not_taken_for_a_store_in_sync() -> None:
    """Nothing is retained: what the facts tell of is lost, and declared."""
    bench = await live(0, 1, limits=NOTHING_KEPT)
    bench.store.evict_entries()
    bench.hear(2)
    bench.settle()
    assert bench.stored_seqs() == [2]
    assert declared_in(bench.stored()) == [0, 1]
    assert bench.account.ledger.lost == 2


async def test_a_head_that_was_evicted_alone_is_written_again() -> None:
    bench = await live(0, 1)
    bench.store.evict_head()
    bench.doubt()
    bench.settle()
    bench.confirm(2)
    assert bench.stored_seqs() == [0, 1, 2]
    assert bench.head.run is not None
    assert bench.head.run.access is Access.OPEN
    assert bench.account == bench.here.published


async def test_after_a_head_that_was_evicted_an_older_generation_is_continued_in_place() -> None:
    bench = await live(0)
    bench.start(Resume())
    bench.confirm(1)
    stored = bench.stored()
    bench.store.roll_back(2)  # the second start, and its frame
    bench.store.evict_head()
    bench.doubt()
    bench.settle()
    assert bench.stored() == stored
    assert bench.head.lease.generation == 2
    assert bench.telemetry.rebased_streams == 0


async def test_a_start_after_evicted_entries_declares_them() -> None:
    bench = await live(0, 1)
    bench.store.evict_entries()
    other = LogBench("b", beside=bench)
    other.start(Resume())
    assert declared_in(other.stored()) == [0, 1]
    generations = [generation for generation, _ in other.store.now.entries]
    assert generations == [1, 2], "the gap is of the generation that lost them"
    assert other.account.ledger.lost == 2
    other.confirm(2)
    assert other.stored_seqs() == [2]


async def test_entries_of_a_start_that_are_evicted_before_its_answer_are_written_again() -> None:
    bench = LogBench()
    pending = bench.request()
    bench.probe()
    bench.answer_probe()
    bench.step("answer lost")
    bench.store.evict_entries()
    bench.settle()
    live = bench.adopt(pending)
    assert kinds(bench) == [Started]
    assert not live.is_fenced
    assert bench.log.is_empty


# Trimming


async def test_a_stream_that_was_rebased_is_not_trimmed_by_its_older_positions() -> None:
    bench = await live(*range(20), retention_seconds=5.0)
    bench.hear(20)
    append = bench.append()
    assert append.keep_from.position > 10
    bench.answer(append)
    bench.store.wipe()
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    append = bench.append()
    assert append.keep_from == Mark(0, 0)
    assert append.head.first_kept == 0
    bench.answer(append)
    bench.settle()
    assert bench.stored_seqs() == list(range(21))


async def test_a_start_in_an_empty_store_is_not_trimmed_by_the_positions_of_before() -> None:
    """Another process held the stream last, and then the store was wiped."""
    bench = await live(*range(20), retention_seconds=5.0)
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.doubt()
    bench.settle()
    assert bench.state is LogState.FENCED
    bench.store.wipe()
    bench.start()
    assert bench.head.first_kept == 0
    bench.hear(0)
    append = bench.append()
    assert append.keep_from == Mark(0, 0)
    assert append.head.first_kept == 0


async def test_what_retention_has_left_grows_with_time() -> None:
    bench = await live(retention_seconds=5.0)
    kept = []
    for seq in range(20):
        bench.hear(seq)
        append = bench.append()
        bench.answer(append)
        assert append.head.first_kept == append.keep_from.position
        assert append.keep_from.generation == (1 if append.keep_from.position else 0)
        kept.append(append.head.first_kept)
        bench.clock.now += 1
    assert kept == sorted(kept)
    assert kept[-1] == 15 + 1


# Ends


async def test_an_end_that_waits_is_written_once_after_a_rebase() -> None:
    bench = await live(0)
    bench.hear(1)
    bench.end()
    bench.store.wipe()
    bench.settle()
    assert kinds(bench) == [Started, type(frame(0)), type(frame(1)), Ended]
    ended = bench.stored()[-1]
    assert isinstance(ended, Ended)
    assert ended.ledger == bench.account.ledger
    assert bench.log.is_empty


async def test_a_run_that_an_older_holder_ended_continues_as_a_new_one() -> None:
    """The store came back to the time of the older holder, which ended the run then."""
    older = await live(0)
    newer = LogBench("b", beside=older)
    newer.clock.now += 1
    newer.start(Resume())
    newer.confirm(1)
    older.store.roll_back(2)
    older.end()
    older.settle()
    assert older.account.state is State.ENDED
    newer.hear(2)
    newer.settle()
    assert not newer.heard_by.is_fenced
    ended, *rest = newer.stored()[2:]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.ENDED
    assert isinstance(rest[0], Started)
    assert rest[1:] == [frame(1), frame(2)]
    assert newer.here.run.name == rest[0].run != "a1"
    newer.confirm(3)
    assert newer.account.ledger.published == 3


async def test_all_that_a_fenced_log_had_not_stored_is_lost_in_flight_and_open() -> None:
    older = await live(0)
    older.hear(1, 2)
    sent = older.append()
    older.hear(3)
    newer = LogBench("b", beside=older)
    newer.clock.now += 1
    newer.start()
    older.answer(sent)
    assert older.state is LogState.FENCED
    assert older.lost() == older.telemetry.counted["lost", "superseded"] == 3


async def test_each_rebase_takes_a_lease_of_its_own_and_the_head_names_its_start() -> None:
    bench = await live(0)
    leases = [bench.head.lease]
    for seq in (1, 3):
        bench.store.wipe()
        bench.confirm(seq, seq + 1)
        assert bench.head.begun_at == 0
        assert [type(entry) for entry in bench.stored()[:2]] == [Started, type(frame(0))]
        leases.append(bench.head.lease)
    assert len({lease.owner for lease in leases}) == 3
    assert len({lease.order for lease in leases}) == 1
    assert [lease.generation for lease in leases] == [1, 2, 3]


async def ended_by_an_older_holder() -> LogBench:
    """A process whose generation is not in the store: an older holder has ended the run there."""
    older = await live(0)
    newer = LogBench("b", beside=older)
    newer.clock.now += 1
    newer.start(Resume())
    older.store.roll_back(1)
    older.end()
    older.settle()
    assert older.account.state is State.ENDED
    return newer


async def test_an_end_that_an_older_holder_has_written_already_is_confirmed_by_it() -> None:
    newer = await ended_by_an_older_holder()
    newer.heard_by.acked = -1
    newer.end()
    newer.settle()
    assert kinds(newer) == [Started, type(frame(0)), Ended]
    assert newer.log.is_empty
    assert newer.log.live is None
    assert not now(newer.heard_by.is_fenced)
    assert newer.heard_by.acked == 0
    assert newer.state is LogState.IN_SYNC
    newer.store.roll_back(1)
    newer.doubt()
    newer.settle()
    assert newer.account.state is State.ENDED, "what is held is written once it is gone again"


async def test_a_cut_run_that_an_older_holder_has_ended_is_not_waited_for() -> None:
    newer = await ended_by_an_older_holder()
    newer.cut()
    newer.settle()
    assert kinds(newer) == [Started, type(frame(0)), Ended]
    assert newer.log.live is None
    assert now(newer.heard_by.is_fenced)


async def test_what_is_old_is_let_go_only_when_it_is_as_old_as_the_rewind() -> None:
    bench = await live(0, limits=FIVE_SECONDS)
    bench.budget.let_go_of_old(bench.clock.now + 4)
    assert bench.retained == 320
    bench.budget.let_go_of_old(bench.clock.now + 5 + JOINED_SECONDS)
    assert bench.retained == 0


async def test_an_append_that_failed_has_the_same_entries_and_another_revision() -> None:
    bench = await live()
    bench.hear(0)
    revisions = set()
    for _ in range(5):
        append = bench.append()
        assert entries_of(append) == [frame(0)]
        revisions.add(append.head.revision)
        bench.log.settle_append(LOST)
    assert len(revisions) == 5
