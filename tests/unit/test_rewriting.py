"""A rebase of batches: what becomes of their times, sizes, leases and places."""

from collections.abc import Sequence
from dataclasses import replace

from batches import RUN, SIZE, batch_of, size_of
from rebase_world import Writer
from stream_parts import frame, run_of, seqs_of

from application.delivery.batch import Batch
from application.delivery.rewriting import Rewritten, rewrite
from domain.account import Account
from domain.entries import SignalNoted, Started
from domain.events import Signal
from domain.fold import Segment
from domain.head import Head, Lease

LEASE = Lease(7, "us.rebased", 5_000)
RUN_1 = run_of("us-run1")


def writer_of(*steps: str, name: str = "us") -> Writer:
    writer = Writer(range(100), name=name)
    writer.begin()
    for step in steps:
        verb, _, number = step.partition(" x")
        writer.take(verb, int(number or 1))
        writer.append()
    return writer


def batches_of(writer: Writer, confirmed: int) -> list[Batch]:
    """Return the appends of a writer as batches, so many of which are confirmed."""
    return [
        held_batch(segment, 100.0 + index if index >= confirmed else None)
        for index, segment in enumerate(writer.appends)
    ]


def held_batch(segment: Segment, received_at: float | None) -> Batch:
    frames = len(seqs_of(segment.entries))
    return Batch(
        segment.run,
        Lease(segment.generation, f"us{segment.generation}", 1_000),
        0,
        list(segment.entries),
        segment.account,
        len(segment.entries),
        size_of(segment.entries),
        frames,
        None if received_at is None else [received_at + n / 10 for n in range(frames)],
    )


def rewritten(head: Head | None, batches: Sequence[Batch], lease: Lease = LEASE) -> Rewritten:
    return rewrite(head, batches[0].run, Account(), batches, lease)


def check_counts(batches: Sequence[Batch]) -> None:
    for batch in batches:
        assert batch.count == len(batch.entries)
        assert batch.audio_bytes == size_of(batch.entries)
        assert batch.frames == len(seqs_of(batch.entries))
        assert batch.received_at is None or len(batch.received_at) == batch.frames
        assert batch.stored == 0


def test_what_was_never_confirmed_keeps_its_times_of_reception() -> None:
    writer = writer_of("hear x2", "hear x2")
    result = rewritten(None, batches_of(writer, 2))
    check_counts(result.batches)
    assert [batch.received_at for batch in result.batches] == [None, None, [102.0, 102.1]]
    assert (result.standing, result.found_at) == ([], [])


def test_what_was_confirmed_keeps_the_times_of_its_first_and_last_frame() -> None:
    """What came while the store was away is retained for as long as it took to come."""
    held = batches_of(writer_of("hear x2", "hear x3"), 0)
    for batch in held:
        batch.note_confirmed()
    result = rewritten(None, held)
    times = [(batch.received_from, batch.received_to) for batch in result.batches]
    assert times == [(None, None), (101.0, 101.1), (102.0, 102.2)]


def test_what_the_store_is_found_to_have_is_confirmed_by_its_times() -> None:
    """Its answer was lost: a part of the second batch is there, and all of the first."""
    writer = writer_of("hear x2", "hear x2", "hear x3")
    held = batches_of(writer, 1)
    whole, part = held[1], held[2]
    joined = replace(
        part,
        entries=part.entries + held[3].entries,
        account=held[3].account,
        count=5,
        frames=5,
        audio_bytes=5 * SIZE,
        received_at=[102.0, 102.1, 103.0, 103.1, 103.2],
    )
    joined.stored = 1
    joined.pack()
    result = rewritten(writer.past[3].head, [held[0], whole, joined])
    check_counts([*result.batches, *result.standing])
    assert result.found_at == [102.0, 102.1, 101.0, 101.1]
    assert [batch.received_at for batch in result.batches] == [[103.0, 103.1, 103.2]]
    assert [seqs_of(batch.entries) for batch in result.standing] == [[], [0, 1], [2, 3]]
    assert [batch.account.last_seq for batch in result.standing] == [None, 1, 3]
    for batch in result.standing:
        batch.pack()
    assert [seqs_of(batch.unpacked()) for batch in result.standing] == [[], [0, 1], [2, 3]]


def test_what_is_standing_has_no_known_position_and_is_not_new() -> None:
    writer = writer_of("hear x2", "hear")
    result = rewritten(writer.past[2].head, batches_of(writer, 3))
    assert [batch.is_numbered for batch in result.standing] == [False, False]
    assert [batch.received_at for batch in result.standing] == [None, None]
    assert [batch.is_numbered for batch in result.batches] == [True]


def test_a_batch_that_was_packed_or_partly_stored_is_written_whole() -> None:
    writer = writer_of("hear x3")
    held = batches_of(writer, 0)
    held[1].stored = 2
    held[1].pack()
    result = rewritten(None, held)
    check_counts(result.batches)
    assert [seqs_of(batch.entries) for batch in result.batches] == [[], [0, 1, 2]]


def test_one_start_rebases_all_generations_under_one_token() -> None:
    writer = writer_of("hear", "resume", "hear", "new run", "hear")
    result = rewritten(None, batches_of(writer, 99))
    leases = [batch.lease for batch in result.batches]
    assert {lease.owner for lease in leases} == {LEASE.owner}
    assert {lease.granted_at_ms for lease in leases} == {5_000}
    assert sorted({lease.generation for lease in leases}) == [7, 8]
    assert result.rebased.lease == leases[-1]
    starts = {
        entry.generation: batch.first_position + index
        for batch in result.batches
        for index, entry in enumerate(batch.entries)
        if isinstance(entry, Started)
    }
    assert all(batch.begun_at == starts[batch.lease.generation] for batch in result.batches)


def test_the_end_of_another_processes_run_is_written_and_not_held_as_ones_own() -> None:
    theirs = writer_of("hear", name="them")
    head = theirs.past[-1].head
    assert head is not None
    result = rewritten(head, batches_of(writer_of("hear"), 0))
    end, *own = result.batches
    assert end.is_foreign
    assert not any(batch.is_foreign for batch in own)
    assert end.received_at is None
    assert end.lease == replace(LEASE, generation=head.lease.generation)
    assert end.begun_at == head.begun_at


def test_the_end_of_another_processes_run_is_not_written_a_second_time() -> None:
    theirs = writer_of("hear", name="them")
    first = rewritten(theirs.past[-1].head, batches_of(writer_of("hear"), 0))
    second = rewrite(None, RUN_1, Account(), first.batches, LEASE.rebased("2"))
    assert not any(batch.is_foreign for batch in second.batches)
    assert {batch.run.name for batch in second.batches} == {"us-run1"}


def test_a_run_that_continues_as_a_new_one_is_the_writers_own() -> None:
    writer = writer_of("hear", "hear")
    older = Writer(range(100), writer.past[2], "older")
    older.take("end", 1)
    result = rewritten(older.past[-1].head, batches_of(writer, 3))
    assert {batch.run.name for batch in result.batches} == {LEASE.owner}
    assert not any(batch.is_foreign for batch in result.batches)


def test_an_account_without_entries_goes_with_the_batch_before_it() -> None:
    writer = writer_of("hear")
    held = batches_of(writer, 2)
    refused = replace(held[-1].account.ledger, received=2, rejected=1)
    account = replace(held[-1].account, ledger=refused)
    due = batch_of([], held[-1].end, run=held[-1].run, account=account)
    result = rewritten(None, [*held, due])
    assert len(result.batches) == 2
    assert result.batches[-1].account.ledger.rejected == 1


def test_a_live_run_without_any_batch_but_an_account_is_rebased() -> None:
    """Nothing of it is retained: what was published is lost, and declared."""
    writer = writer_of("hear x3")
    account = writer.appends[-1].account
    due = batch_of([], account.next_position, run=writer.run, account=account)
    result = rewrite(None, writer.run, account, [due], LEASE)
    assert result.rebased.lost == 3
    (batch,) = result.batches
    assert batch.account.ledger.lost == 3
    assert batch.count == 2


def test_a_run_of_which_only_the_end_of_another_one_is_held_is_rebased_from_its_base() -> None:
    """The end of a foreign run is not written once more."""
    writer = writer_of("hear x2")
    foreign = replace(held_batch(writer.appends[-1], None), is_foreign=True)
    result = rewrite(None, writer.run, writer.appends[-1].account, [foreign], LEASE)
    (batch,) = result.batches
    assert (batch.run, result.standing, result.rebased.lost) == (writer.run, [], 2)
    assert seqs_of(batch.entries) == []


def test_the_base_is_of_its_own_run_only() -> None:
    """What was let go last may be of an older run than the first batch that is held."""
    writer = writer_of("hear x2", "new run", "hear")
    held = [batch for batch in batches_of(writer, 99) if batch.run.name == "us-run2"]
    base = next(it for it in reversed(writer.appends) if it.run.name == "us-run1").account
    result = rewrite(None, RUN_1, base, held, LEASE)
    assert result.rebased.lost == 0
    assert [seqs_of(batch.entries) for batch in result.batches] == [[], [0]]


def test_signals_keep_their_size() -> None:
    noted = SignalNoted(Signal.DTMF, '{"digit":"5"}')
    start = batch_of([Started(1, RUN.name, False, RUN.opening)], 0)
    behind = batch_of([frame(0), noted], 1)
    result = rewritten(None, [start, behind])
    check_counts(result.batches)
    assert result.batches[-1].audio_bytes == SIZE + len(noted.details)
