"""The cases of `domain.rebase`, one by one; the properties try them in all combinations."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from rebase_world import Writer, after, held_runs
from stream_model import Stored
from stream_parts import OPENING, declared_in, frame, started

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import EndReason, Signal
from domain.fold import Segment
from domain.head import Lease
from domain.ledger import Ledger
from domain.rebase import HeldRun, Rebased, rebase

LEASE = Lease(9, "us.rebased", 5_000)
SENT = range(100)
NOTED = SignalNoted(Signal.DTMF, "{}")


def writer_of(*steps: str, stored: Stored | None = None, name: str = "us") -> Writer:
    """Play steps, each an append of its own; the first begins a run if there is none."""
    writer = Writer(SENT, stored, name)
    if stored is None:
        writer.begin()
    for step in steps:
        verb, _, number = step.partition(" x")
        writer.take(verb, int(number or 1))
        writer.append()
    return writer


def all_of(writer: Writer) -> list[HeldRun]:
    return held_runs(writer.appends, writer.appends[0].run.name, Account())


def entries(rebased: Rebased) -> list[Entry]:
    return [entry for written in rebased.written for entry in written.segment.entries]


def standing(rebased: Rebased) -> list[Entry]:
    return [entry for written in rebased.standing for entry in written.segment.entries]


def resumed(generation: int, run: str = "us-run1") -> Started:
    return started(generation, run, resumed=True, of=OPENING)


def new(generation: int, run: str = "us-run1") -> Started:
    return started(generation, run, of=OPENING)


def frames(*seqs: int) -> list[Entry]:
    return [frame(seq) for seq in seqs]


def test_of_the_run_that_the_store_has_what_is_after_its_last_seq_is_written() -> None:
    writer = writer_of("hear", "hear", "note", "hear")
    rebased = rebase(writer.past[3].head, all_of(writer), LEASE)
    assert entries(rebased) == [resumed(9), NOTED, frame(2)]
    assert standing(rebased) == [new(1), frame(0), frame(1)]
    assert (rebased.lost, rebased.found) == (0, 0)
    assert rebased.lease == LEASE


def test_a_store_that_has_a_part_of_what_was_joined_gets_the_other_part() -> None:
    writer = writer_of("hear", "hear", "hear")
    start, *rest = writer.appends
    joined = Segment(start.run, 1, tuple(frames(0, 1, 2)), rest[-1].account)
    held = [HeldRun(start.run, Account(), [start, joined])]
    rebased = rebase(writer.past[3].head, held, LEASE)
    assert entries(rebased) == [resumed(9), frame(2)]
    assert standing(rebased) == [new(1), frame(0), frame(1)]
    assert [it.source for it in rebased.standing] == [start, joined]
    assert [it.source for it in rebased.written] == [joined]


def test_of_every_later_run_all_is_written_and_earlier_ones_are_standing() -> None:
    writer = writer_of("hear", "new run", "hear", "new run", "hear")
    head = next(it.head for it in writer.past if it.head and it.head.run == writer.appends[3].run)
    rebased = rebase(head, all_of(writer), LEASE)
    ended = Ended(EndReason.DISCONNECTED, Ledger(1, 1, bytes=320, audio_ms=20))
    assert standing(rebased)[:3] == [new(1), frame(0), ended]
    assert entries(rebased) == [
        resumed(9, "us-run2"), frame(1 - 1), ended, new(10, "us-run3"), frame(0)
    ]  # fmt: skip
    assert rebased.lease == replace(LEASE, generation=10)


def test_after_none_of_the_runs_all_of_them_are_written() -> None:
    writer = writer_of("hear", "end", "new run", "hear")
    rebased = rebase(None, all_of(writer), LEASE)
    ended = Ended(EndReason.ENDED, Ledger(1, 1, bytes=320, audio_ms=20))
    assert entries(rebased) == [new(9), frame(0), ended, new(10, "us-run2"), frame(0)]
    assert rebased.standing == ()
    assert rebased.written[0].segment.first_position == 0


def test_an_open_run_of_another_process_is_ended_first_under_its_own_generation() -> None:
    theirs = writer_of("hear", "resume", "hear", "drop", name="them")
    head = theirs.past[-1].head
    assert head is not None
    writer = writer_of("hear")
    rebased = rebase(head, all_of(writer), LEASE)
    ended = Ended(EndReason.DISCONNECTED, head.account.ledger)
    assert entries(rebased) == [ended, new(9), frame(0)]
    first = rebased.written[0]
    assert (first.segment.generation, first.source) == (2, None)
    assert first.begun_at == head.begun_at == 2, "it is still their generation"
    assert rebased.written[1].begun_at == head.next_position + 1


def test_after_the_end_of_another_processes_run_there_is_nothing_to_end() -> None:
    theirs = writer_of("hear", "end", name="them")
    rebased = rebase(theirs.past[-1].head, all_of(writer_of("hear")), LEASE)
    assert entries(rebased) == [new(9), frame(0)]


def test_frames_that_no_one_holds_are_one_gap_after_the_start_and_lost_in_the_ledger() -> None:
    writer = writer_of(*["hear"] * 6)
    base, rest = writer.appends[4].account, writer.appends[5:]
    held = [HeldRun(rest[0].run, base, rest)]
    rebased = rebase(writer.past[3].head, held, LEASE)
    assert entries(rebased) == [resumed(9), Gap(2, 2), *frames(4, 5)]
    assert rebased.lost == 2
    account = rebased.written[-1].segment.account
    assert account.ledger == Ledger(6, 4, lost=2, missing=2, bytes=1280, audio_ms=80)


def test_what_was_dropped_after_frames_that_no_one_holds_is_counted_beside_them() -> None:
    writer = writer_of(*["hear"] * 6, "drop", "hear")
    held = [HeldRun(writer.appends[0].run, writer.appends[4].account, writer.appends[5:])]
    rebased = rebase(writer.past[3].head, held, LEASE)
    assert entries(rebased) == [resumed(9), Gap(2, 2), *frames(4, 5), Gap(6, 1), frame(7)]
    account = rebased.written[-1].segment.account
    assert account.ledger == Ledger(8, 5, lost=3, missing=3, bytes=1600, audio_ms=100)


def test_frames_of_the_first_run_that_no_one_holds_are_lost_whatever_follows_it() -> None:
    writer = writer_of(*["hear"] * 3, "new run", "hear")
    held = held_runs(writer.appends[3:], "us-run1", writer.appends[2].account)
    assert len(held) == 2
    rebased = rebase(None, held, LEASE)
    assert rebased.lost == 2
    assert rebased.base == Account(2, 0, 1, Ledger(2, lost=2, missing=2))


def test_a_run_whose_beginning_no_one_holds_resumes_in_an_empty_store_and_not_in_another() -> None:
    writer = writer_of(*["hear"] * 3)
    held = [HeldRun(writer.appends[0].run, writer.appends[2].account, writer.appends[3:])]
    assert entries(rebase(None, held, LEASE)) == [resumed(9), Gap(0, 2), frame(2)]
    theirs = writer_of("hear", "end", name="them")
    behind = rebase(theirs.past[-1].head, held, LEASE)
    assert entries(behind) == [new(9), Gap(0, 2), frame(2)]


def ended_by_an_older_holder(writer: Writer, at: int) -> Stored:
    return writer_of("end", stored=writer.past[at], name="older").past[-1]


def test_what_continues_after_an_end_of_its_run_becomes_a_new_run() -> None:
    writer = writer_of("hear", "hear", "drop", "hear", "resume", "hear")
    head = ended_by_an_older_holder(writer, 3).head
    rebased = rebase(head, all_of(writer), LEASE)
    name = LEASE.owner
    assert entries(rebased) == [
        new(9, name), Gap(2, 1), frame(3), frame(4)
    ]  # fmt: skip
    account = rebased.written[-1].segment.account
    assert account.ledger == Ledger(3, 2, lost=1, missing=1, bytes=640, audio_ms=40)
    assert {it.segment.run.name for it in rebased.written} == {name}


def test_earlier_runs_are_standing_if_the_store_has_the_end_of_the_last() -> None:
    writer = writer_of("hear", "new run", "hear", "end")
    head = ended_by_an_older_holder(writer_of("hear", "new run", "hear"), -1).head
    rebased = rebase(head, all_of(writer), LEASE)
    assert rebased.written == ()
    assert [it.segment for it in rebased.standing] == writer.appends
    assert rebased.base == Account()
    assert head is not None
    assert rebased.lease == replace(LEASE, generation=head.lease.generation)


@pytest.mark.parametrize("state", [State.LIVE, State.CUT, State.ENDED])
def test_a_run_whose_end_the_store_has_continues_only_if_it_is_live(state: State) -> None:
    """All that is held of it is standing otherwise: the store may come back without it again."""
    writer = writer_of("hear", "note")
    if state is State.ENDED:
        writer.take("end", 1)
    head = ended_by_an_older_holder(writer, 2).head
    last = writer.appends[-1]
    if state is State.CUT:
        writer.appends[-1] = replace(last, account=replace(last.account, state=State.CUT))
    held = all_of(writer)
    rebased = rebase(head, held, LEASE)
    if state is State.LIVE:
        assert entries(rebased) == [new(9, LEASE.owner), NOTED]
    else:
        assert rebased.written == ()
        assert [it.source for it in rebased.standing] == list(held[0].segments)


def again(stored: Stored, first: Rebased, lease: Lease) -> Rebased:
    """Rebase onto a head what the first rebase left to be held."""
    segments = [it.segment for it in (*first.standing, *first.written)]
    base = Account() if first.standing else first.base
    return rebase(stored.head, held_runs(segments, segments[0].run.name, base), lease)


def test_what_was_found_and_is_gone_again_is_declared_and_counted_as_lost() -> None:
    """An older holder published frame 1; a second return of the store took it away."""
    writer = writer_of("hear")
    older = writer_of("hear", stored=writer.past[-1], name="older")
    first = rebase(older.past[-1].head, all_of(writer), LEASE)
    assert (first.found, entries(first)) == (1, [resumed(9)])
    second = again(Stored(), first, LEASE.rebased("2"))
    assert entries(second) == [new(10), frame(0), Gap(1, 1)]
    assert second.lost == 1
    account = second.written[-1].segment.account
    assert account.ledger == Ledger(2, 1, lost=1, missing=1, bytes=320, audio_ms=20)


def found_between() -> tuple[Rebased, list[HeldRun]]:
    """An older holder published frame 1, which the writer had dropped, before its frame 2."""
    writer = writer_of("hear", "drop", "hear")
    older = writer_of("hear", stored=writer.past[2], name="older")
    first = rebase(older.past[-1].head, all_of(writer), LEASE)
    assert (first.found, entries(first)) == (1, [resumed(9), frame(2)])
    segments = [it.segment for it in (*first.standing, *first.written)]
    return first, held_runs(segments, "us-run1", Account())


def test_what_was_found_between_frames_and_is_gone_again_is_declared_there() -> None:
    _, held = found_between()
    second = rebase(None, held, LEASE.rebased("2"))
    assert entries(second) == [new(10), frame(0), Gap(1, 1), frame(2)]
    assert second.lost == 1


def test_several_frames_that_were_found_and_are_gone_again_are_declared_by_one_gap() -> None:
    writer = writer_of("hear", "drop x2", "hear")
    older = writer_of("hear x2", stored=writer.past[2], name="older")
    first = rebase(older.past[-1].head, all_of(writer), LEASE)
    assert (first.found, entries(first)) == (2, [resumed(9), frame(3)])
    segments = [it.segment for it in (*first.standing, *first.written)]
    held = held_runs(segments, "us-run1", Account())
    second = rebase(None, held, LEASE.rebased("2"))
    assert entries(second) == [new(10), frame(0), Gap(1, 2), frame(3)]


def test_what_was_found_and_is_gone_is_lost_beside_what_no_one_holds() -> None:
    first, held = found_between()
    base, rest = held[0].segments[1].account, held[0].segments[2:]
    second = rebase(None, [replace(held[0], base=base, segments=rest)], LEASE.rebased("2"))
    assert declared_in(entries(second)) == [0, 1]
    assert second.lost == 2
    assert first.lost == 0


def test_drops_before_the_first_frame_are_all_missing_however_often_they_were_told() -> None:
    writer = writer_of("drop", "note", "drop", "note", "hear")
    rebased = rebase(None, all_of(writer), LEASE)
    assert entries(rebased) == [new(9), NOTED, NOTED, Gap(0, 2), frame(2)]
    account = rebased.written[-1].segment.account
    assert account.ledger == writer.appends[-1].account.ledger
    assert (account.first_seq, account.ledger.missing) == (0, 2)


def test_a_gap_stays_after_what_was_noted_before_it() -> None:
    writer = writer_of("hear")
    for verb in ("drop", "note", "hear"):
        writer.take(verb, 1)
    writer.append()
    rebased = rebase(writer.past[2].head, all_of(writer), LEASE)
    assert entries(rebased) == [resumed(9), NOTED, Gap(1, 1), frame(2)]


def test_each_segment_keeps_the_opening_under_which_it_was_written() -> None:
    """A sender resumes with other details: the newest are those of the new generation."""
    writer = writer_of("hear", "resume", "hear")
    opened = replace(OPENING, started_at_ms=1_800_000)
    for index in (2, 3):
        run = replace(writer.appends[index].run, opening=opened)
        writer.appends[index] = replace(writer.appends[index], run=run)
    rebased = rebase(None, all_of(writer), LEASE)
    assert entries(rebased)[0] == Started(9, "us-run1", resumed=False, opening=opened)
    runs = [it.segment.run for it in rebased.written]
    assert runs == [it.run for it in writer.appends]


def test_what_was_lost_once_is_not_lost_again() -> None:
    writer = writer_of(*["hear"] * 3)
    held = [HeldRun(writer.appends[0].run, writer.appends[2].account, writer.appends[3:])]
    first = rebase(None, held, LEASE)
    assert first.lost == 2
    second = again(Stored(), first, LEASE.rebased("2"))
    assert second.lost == 0
    assert entries(second) == [resumed(10), Gap(0, 2), frame(2)]
    last = second.written[-1].segment.account
    assert last == first.written[-1].segment.account


@pytest.mark.parametrize("verb", ["refuse", "drop"])
def test_what_the_store_has_counted_after_its_last_frame_is_counted_once(verb: str) -> None:
    writer = writer_of("hear", verb, "note", "note")
    rebased = rebase(writer.past[3].head, all_of(writer), LEASE)
    account = rebased.written[-1].segment.account
    assert account.ledger == writer.appends[-1].account.ledger


def test_a_cut_run_stays_cut_where_it_is_written() -> None:
    writer = writer_of("hear")
    start, last = writer.appends
    cut = replace(last, account=replace(last.account, state=State.CUT))
    rebased = rebase(None, [HeldRun(start.run, Account(), [start, cut])], LEASE)
    assert rebased.written[-1].segment.account.state is State.CUT


def test_an_account_without_entries_is_written_after_the_rest() -> None:
    writer = writer_of("hear")
    start, last = writer.appends
    due = replace(last, entries=(), account=replace(last.account, state=State.CUT))
    rebased = rebase(None, [HeldRun(start.run, Account(), [start, last, due])], LEASE)
    assert entries(rebased) == [new(9), frame(0)]
    assert rebased.written[-1].segment.account == replace(last.account, state=State.CUT)


def test_the_next_generation_is_above_that_of_the_head_and_of_the_lease() -> None:
    def generations(head_generation: int, lease_generation: int) -> Sequence[int]:
        writer = writer_of("hear", "resume", "hear")
        head = writer.past[1].head
        assert head is not None
        head = replace(head, lease=replace(head.lease, generation=head_generation))
        rebased = rebase(head, all_of(writer), replace(LEASE, generation=lease_generation))
        return [entry.generation for entry in entries(rebased) if isinstance(entry, Started)]

    assert generations(1, 9) == [9]
    assert generations(20, 9) == [21]
    behind_nothing = rebase(None, all_of(writer_of("hear")), replace(LEASE, generation=1))
    assert entries(behind_nothing) == [new(1), frame(0)]


def test_what_retention_has_left_stays_so_unless_the_entries_are_lost() -> None:
    writer = writer_of("hear", "hear")
    head = writer.past[2].head
    assert head is not None
    head = replace(head, first_kept=1)
    assert rebase(head, all_of(writer), LEASE).first_kept == 1
    assert rebase(replace(head, entries_lost=True), all_of(writer), LEASE).first_kept == 0


def test_what_is_written_is_what_a_consumer_finds() -> None:
    writer = writer_of("hear x3", "resume", "hear x2")
    stored = writer.past[1]
    rebased = rebase(stored.head, all_of(writer), LEASE)
    *_, last = after(stored, rebased)
    assert [entry for _, entry in last.entries] == [
        new(1), resumed(9), *frames(0, 1, 2, 3, 4)
    ]  # fmt: skip
