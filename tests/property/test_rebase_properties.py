"""A rebase against plain lists: what a consumer finds after another head is what it should.

A writer writes a stream; its store comes back as it was at some time, empty, without its entries,
or with what an older holder wrote meanwhile; and that happens to it again and again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from rebase_world import (
    Step,
    Writer,
    after,
    boundaries,
    check_account,
    check_order,
    check_stretch,
    held_runs,
    joined,
    stretches,
)
from stream_model import Stored
from stream_parts import seqs_of

from domain.account import Account, State
from domain.entries import Entry, Gap, SignalNoted, Started
from domain.fold import Segment
from domain.head import Lease
from domain.rebase import HeldRun, Rebased, rebase
from examples import examples

SENT = st.lists(st.integers(1, 3), min_size=40, max_size=40).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
)

WITHIN_A_GENERATION = [
    st.tuples(st.sampled_from(["hear", "hear", "append"]), st.integers(1, 2)),
    st.tuples(st.sampled_from(["drop", "note", "refuse", "end"]), st.just(1)),
]

STEPS = st.lists(
    st.one_of(*WITHIN_A_GENERATION, st.tuples(st.sampled_from(["resume", "new run"]), st.just(1))),
    max_size=24,
)

OLDER_STEPS = st.lists(st.one_of(*WITHIN_A_GENERATION), min_size=1, max_size=6)
"""What a holder may do without a start, which would make it the newest."""

MARKS = st.lists(st.booleans(), min_size=1, max_size=5)
ANY = st.integers(0, 200)


@dataclass
class Log:
    """What a writer holds, as `Holdings` does: segments, and the run before the first of them."""

    segments: list[Segment]
    run: str
    base: Account
    lease: Lease

    @property
    def runs(self) -> list[HeldRun]:
        return held_runs(self.segments, self.run, self.base)

    def adopt(self, rebased: Rebased, marks: Sequence[bool]) -> "Log":
        own = {held.run.name for held in self.runs} | {rebased.lease.owner}
        written = [it.segment for it in rebased.written if it.segment.run.name in own]
        standing = [it.segment for it in rebased.standing]
        run, base = self.run, self.base
        if written and not standing:
            run, base = written[0].run.name, rebased.base
        return Log([*standing, *joined(written, marks)], run, base, rebased.lease)


def writer_of(sent: Sequence[int], steps: Sequence[Step]) -> Writer:
    writer = Writer(sent)
    writer.play([("new run", 1), *steps])
    return writer


def log_of(writer: Writer, let_go: int, marks: Sequence[bool]) -> Log:
    """Hold the segments of a writer without the first ones."""
    segments = joined(writer.appends, marks)
    let_go %= len(segments)
    run = segments[max(0, let_go - 1)].run.name
    lease = Lease(writer.generation, f"us{writer.generation}", 1_000)
    return Log(segments[let_go:], run, boundaries(segments)[let_go], lease)


def rebased_after(stored: Stored, log: Log, number: int = 1) -> Rebased:
    """Rebase, and check what is true of every rebase."""
    held, lease = log.runs, log.lease.rebased(f"rebase{number}")
    rebased = rebase(stored.head, held, lease)
    check_order(stored, rebased)
    assert (rebased.lease.owner, rebased.lease.granted_at_ms) == (lease.owner, lease.granted_at_ms)
    for it in rebased.standing:
        assert it.source is not None
        assert (it.segment.run, it.segment.generation) == (it.source.run, it.source.generation)
    states = list(after(stored, rebased))
    if not states:
        head = stored.head
        assert head is not None
        assert head.run is not None
        assert (head.run.name, head.account.state) == (held[-1].run.name, State.ENDED)
        assert held[-1].account.state is not State.LIVE
        assert [it.segment for it in rebased.standing] == log.segments
        return rebased
    read = stretches(states[-1].entries)
    for stretch in read[len(stretches(stored.entries)) - 1 :]:
        check_stretch(stretch)
    for state in states:
        assert state.head is not None
        check_account(state.head.account, stretches(state.entries)[-1])
    assert states[-1].head is not None
    assert states[-1].head.account.state is held[-1].account.state
    check_nothing_is_twice(stored, states[-1], rebased)
    check_held_is_there(stored, states[-1], log, rebased)
    return rebased


def check_nothing_is_twice(before: Stored, now: Stored, rebased: Rebased) -> None:
    """A frame is there twice only after the run of another writer, in its own run."""
    seen = Counter(
        (stretch.run, seq) for stretch in stretches(now.entries) for seq in stretch.walk.seqs
    )
    is_after_another = any(it.source is None for it in rebased.written)
    earlier = {stretch.run for stretch in stretches(before.entries)[:-1]}
    for (run, _), count in seen.items():
        assert count == 1 or is_after_another or run in earlier


def check_held_is_there(before: Stored, now: Stored, log: Log, rebased: Rebased) -> None:
    """Every frame held is in its run, or in the new run that continues it, or is declared."""
    read = stretches(now.entries)
    seqs: dict[str, set[int]] = {}
    declared: dict[str, set[int]] = {}
    for stretch in read:
        seqs.setdefault(stretch.run, set()).update(stretch.walk.seqs)
        declared.setdefault(stretch.run, set()).update(stretch.walk.declared)
    head = before.head
    known = None if head is None or head.run is None or head.entries_lost else head
    in_new_run = seqs.get(rebased.lease.owner, set())
    for held in log.runs:
        name = held.run.name
        is_known = known is not None and known.run is not None and known.run.name == name
        last_seq = known.account.last_seq if is_known and known is not None else None
        for seq in seqs_of(entry for segment in held.segments for entry in segment.entries):
            is_there = seq in seqs.get(name, set()) or seq in in_new_run
            if ".rebase" in name:  # or in the run that this one continues
                is_there = is_there or any(seq in it for it in seqs.values())
            may_be_declared = not is_known or (last_seq is not None and seq <= last_seq)
            assert is_there or (may_be_declared and seq in declared.get(name, set()))
    kept = [it.segment for it in (*rebased.standing, *rebased.written)]
    frames = sorted(seqs_of(entry for segment in kept for entry in segment.entries))
    assert frames == sorted(seqs_of(entry for it in log.segments for entry in it.entries))


def lost_frames(stored: Stored, log: Log) -> int:
    """Count the frames of the first run held that are in no store and not held any more."""
    head, first = stored.head, log.runs[0]
    if first.segments[0].starts_run:
        return 0
    names = [held.run.name for held in log.runs]
    published = first.base.ledger.published
    if head is None or head.run is None or head.entries_lost or head.run.name not in names:
        return published
    if names.index(head.run.name) > 0:
        return 0
    return max(0, published - head.account.ledger.published)


@given(SENT, STEPS, ANY, ANY, MARKS)
def test_after_its_own_past_a_writer_writes_what_is_not_there_any_more(
    sent: list[int], steps: list[Step], let_go: int, came_back_to: int, marks: list[bool]
) -> None:
    writer = writer_of(sent, steps)
    stored = writer.past[came_back_to % len(writer.past)]
    log = log_of(writer, let_go, marks)
    rebased = rebased_after(stored, log)
    assert rebased.lost == lost_frames(stored, log)
    assert rebased.found == 0
    states, names = list(after(stored, rebased)), [held.run.name for held in log.runs]
    run = None if stored.head is None else stored.head.run
    if states and run is not None and run.name in names and not rebased.lost:
        full = stretches(writer.past[-1].entries)
        read = stretches(states[-1].entries)
        assert [stretch.run for stretch in read] == [stretch.run for stretch in full]
        assert [stretch.walk.seqs for stretch in read] == [stretch.walk.seqs for stretch in full]


@given(SENT, STEPS, ANY, ANY, MARKS)
def test_what_is_in_no_store_and_not_held_is_declared_by_one_gap_after_the_start(
    sent: list[int], steps: list[Step], let_go: int, came_back_to: int, marks: list[bool]
) -> None:
    writer = writer_of(sent, steps)
    stored = writer.past[came_back_to % len(writer.past)]
    log = log_of(writer, let_go, marks)
    rebased = rebased_after(stored, log)
    if not rebased.lost:
        return
    name = log.runs[0].run.name
    entries = [it for written in rebased.written for it in written.segment.entries]
    begins = [it for it in entries if isinstance(it, Started) and it.run == name]
    behind = entries[entries.index(begins[0]) + 1]
    assert isinstance(behind, Gap)
    full = next(it for it in stretches(writer.past[-1].entries) if it.run == name)
    there = next((it.walk.seqs for it in stretches(stored.entries) if it.run == name), [])
    held = seqs_of(it for segment in log.runs[0].segments for it in segment.entries)
    lost = [seq for seq in full.walk.seqs if seq not in there and seq not in held]
    assert len(lost) == rebased.lost
    assert all(behind.first_missing <= seq <= behind.last_missing for seq in lost)
    account = [it.segment.account for it in rebased.written if it.segment.run.name == name][-1]
    assert account.ledger.lost == log.runs[0].account.ledger.lost + rebased.lost


@given(SENT, STEPS, ANY, ANY, MARKS)
def test_what_was_counted_without_an_entry_stays_counted(
    sent: list[int], steps: list[Step], let_go: int, came_back_to: int, marks: list[bool]
) -> None:
    writer = writer_of(sent, steps)
    stored = writer.past[came_back_to % len(writer.past)]
    log = log_of(writer, let_go, marks)
    for held in log.runs:
        written = [
            it.segment.account
            for it in rebased_after(stored, log).written
            if it.segment.run.name == held.run.name
        ]
        if written:
            ours, ledger = held.account.ledger, written[-1].ledger
            assert (ledger.rejected, ledger.duplicate) == (ours.rejected, ours.duplicate)
            assert ledger.lost >= ours.lost
            assert ledger.received == ours.received


@given(SENT, STEPS, ANY, MARKS)
def test_a_store_that_has_the_facts_without_the_entries_gets_everything_once_more(
    sent: list[int], steps: list[Step], let_go: int, marks: list[bool]
) -> None:
    writer = writer_of(sent, steps)
    head = writer.past[-1].head
    assert head is not None
    stored = Stored(replace(head, entries_lost=True), ())
    log = log_of(writer, let_go, marks)
    rebased = rebased_after(stored, log)
    assert rebased.standing == ()
    assert rebased.lost == lost_frames(stored, log)
    assert rebased.written[0].segment.first_position == 0
    assert rebased.written[0].segment.generation > head.lease.generation


@dataclass
class Takeover:
    """A stream that this writer has taken over from an older holder."""

    older: Writer
    writer: Writer
    log: Log


@st.composite
def takeovers(draw: st.DrawFn) -> Takeover:
    """Draw a stream whose writer began after another one, by a start or by resuming its run."""
    older = Writer(draw(SENT), name="them")
    older.play([("new run", 1), *draw(STEPS)])
    writer = Writer(older.sent, older.past[-1])
    held_from = writer.past[0].head
    assert held_from is not None
    if writer.is_open and draw(st.booleans()):
        writer.resume()
    else:
        writer.begin()
        held_from = None
    writer.play(draw(STEPS))
    own = [it for it in writer.appends if it.generation > older.generation]
    segments = joined(own, draw(MARKS))
    base = Account() if held_from is None else held_from.account
    log = Log(segments, segments[0].run.name, base, Lease(writer.generation, "us", 1_000))
    return Takeover(older, writer, log)


def continued(taken: Takeover, came_back_to: int, steps: Sequence[Step]) -> Writer:
    """Have the older holder write on from where the store came back to."""
    past = taken.older.past
    older = Writer(taken.older.sent, past[came_back_to % len(past)], "them again")
    older.play(steps)
    return older


@settings(max_examples=examples(200))
@given(takeovers(), ANY, OLDER_STEPS)
def test_after_what_an_older_holder_wrote_meanwhile_a_writer_continues(
    taken: Takeover, came_back_to: int, steps: list[Step]
) -> None:
    rebased_after(continued(taken, came_back_to, steps).past[-1], taken.log)


@settings(max_examples=examples(200))
@given(takeovers(), MARKS, st.lists(st.tuples(ANY, OLDER_STEPS, st.booleans()), max_size=4))
def test_what_was_rebased_is_rebased_again_onto_any_other_head(
    taken: Takeover, marks: list[bool], returns: list[tuple[int, list[Step], bool]]
) -> None:
    """The store comes back to any state it has been in, also one in the middle of a rebase."""
    log, past = taken.log, [Stored(), *taken.older.past, *taken.writer.past]
    for number, (came_back_to, steps, has_older) in enumerate(returns):
        if has_older:
            past += continued(taken, came_back_to, steps).past
            stored = past[-1]
        else:
            stored = past[came_back_to % len(past)]
        rebased = rebased_after(stored, log, number)
        past += after(stored, rebased)
        log = log.adopt(rebased, marks)


@given(SENT, STEPS, ANY, MARKS)
def test_a_rebase_onto_where_the_last_one_began_writes_the_same_again(
    sent: list[int], steps: list[Step], let_go: int, marks: list[bool]
) -> None:
    writer = writer_of(sent, steps)
    log = log_of(writer, let_go, marks)
    once = rebased_after(Stored(), log)
    twice = rebased_after(Stored(), log.adopt(once, [False]), 2)
    assert [entries_without_generation(it.segment) for it in twice.written] == [
        entries_without_generation(it.segment) for it in once.written
    ]
    assert [it.segment.account for it in twice.written] == [
        it.segment.account for it in once.written
    ]
    assert twice.lost == 0


def entries_without_generation(segment: Segment) -> list[Entry]:
    return [
        replace(entry, generation=0) if isinstance(entry, Started) else entry
        for entry in segment.entries
        if not isinstance(entry, SignalNoted)
    ]
