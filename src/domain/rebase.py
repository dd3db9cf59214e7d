"""Rebase: a writer writes its held entries after another head.

The store is in a state that the writer does not know: it came back empty, or older than the held
entries, or an older writer has written to it. The writer takes a new generation
after that head and writes the entries that the store lacks, in order:

- of the run in the store: the frames after its last seq; stored frames are *standing* from then on
- every later run in full; earlier runs are standing
- if the store has none of the runs: all of them, after ending a run that is open in the store
- if the store has ended a run that is live here: the missing frames become a new run

Frames that neither the store nor the writer has are lost: one gap after the `Started` declares
them, and the ledger counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.account import Account, State
from domain.entries import Entry, Started
from domain.events import EndReason
from domain.fold import Fold, Segment, nothing_published, reconciled, with_counts
from domain.head import Head, Lease, Run
from domain.media import AudioFrame

_Rest = tuple[Segment | None, Sequence[Entry]]
"""A held segment, and the part of it that the store lacks."""


@dataclass(frozen=True, slots=True)
class HeldRun:
    """The held segments of one run, in order; `base` is the run before the first segment."""

    run: Run
    base: Account
    segments: Sequence[Segment]

    @property
    def account(self) -> Account:
        """The run after all held segments."""
        return self.segments[-1].account if self.segments else self.base


@dataclass(frozen=True, slots=True)
class Written:
    """A segment of the rebase, and the held segment that it replaces, if there is one.

    `begun_at` is the position of the `Started` of its generation.
    """

    segment: Segment
    begun_at: int
    source: Segment | None


@dataclass(frozen=True, slots=True)
class Rebased:
    """Append the `written` segments under `lease`; the store already has the `standing` ones.

    Nothing is written if the store has the end of the last held run. `base` is the account of the
    first written run, before its held segments. `lost` counts published frames that are neither in
    the store nor held, `found` frames in the store that the writer did not know.
    """

    lease: Lease
    base: Account
    written: tuple[Written, ...]
    standing: tuple[Written, ...]
    lost: int
    found: int
    first_kept: int


def rebase(head: Head | None, held: Sequence[HeldRun], lease: Lease) -> Rebased:
    """Write the held runs, at least one, after a head.

    The writer takes `lease`: that of its newest start, rebased. Its generation is raised above the
    head's.
    """
    return _Rebase(head, held, lease).result()


class _Rebase:
    def __init__(self, head: Head | None, held: Sequence[HeldRun], lease: Lease) -> None:
        above = 0 if head is None else head.lease.generation
        self._next_generation = max(lease.generation, above + 1)
        self._lease = lease
        self._head = None if head is None or head.entries_lost else head
        self._held = held
        self._position = 0 if self._head is None else self._head.next_position
        self._generation = above
        self._begun_at = 0 if self._head is None else self._head.begun_at
        self._base = Account()
        self._is_based = False
        self._written: list[Written] = []
        self._standing: list[Written] = []
        self._lost = self._found = 0

    def result(self) -> Rebased:
        head, known = self._head, self._known_run()
        if head is not None and head.run is not None and head.is_open and known is None:
            fold = Fold(head.run, head.account)
            fold.end(EndReason.DISCONNECTED)
            self._add(fold.segment(head.lease.generation), None)
        for index, held in enumerate(self._held):
            if known is not None and index < known:
                self._note_standing(held.segments)
            elif index == known and head is not None:
                self._continue(held, head.account)
            else:
                self._write_whole(held)
        lease = Lease(self._generation, self._lease.owner, self._lease.granted_at_ms)
        first_kept = 0 if head is None else head.first_kept
        return Rebased(
            lease,
            self._base,
            tuple(self._written),
            tuple(self._standing),
            self._lost,
            self._found,
            first_kept,
        )

    def _known_run(self) -> int | None:
        """Return the index of the held run that is last in the store; None if it has none."""
        if self._head is None or self._head.run is None:
            return None
        names = [held.run.name for held in self._held]
        name = self._head.run.name
        return names.index(name) if name in names else None

    def _continue(self, held: HeldRun, known: Account) -> None:
        """Write the missing part of the run that the store has."""
        standing = len(self._standing)
        at, rest = self._split(held, known.last_seq)
        theirs, ours = known.ledger, at.ledger
        lost = max(0, ours.published - theirs.published)
        self._found += max(0, theirs.published - ours.published)
        self._lost += lost
        account = reconciled(known, at)
        at = with_counts(at, theirs.duplicate, theirs.rejected, account.ledger.lost - lost)
        if known.state is not State.ENDED:
            self._write(held.run, account, at, rest, resumed=True)
        elif held.account.state is State.LIVE or any(_frames(entries) for _, entries in rest):
            # The run has its one end, from an older writer of it.
            run = replace(held.run, name=self._lease.owner)
            after = replace(at, next_position=self._position, last_seq=None)
            self._write(run, Account(self._position), after, rest, resumed=False)
        else:  # the store has its end, and all there is of it
            del self._standing[standing:]
            self._note_standing(held.segments)

    def _write_whole(self, held: HeldRun) -> None:
        """Write a run that the store does not have."""
        starts = bool(held.segments) and held.segments[0].starts_run
        base = Account() if starts else held.base
        self._lost += base.ledger.published
        account = nothing_published(base, self._position)
        resumed = self._head is None and not starts
        self._write(held.run, account, base, _whole(held.segments), resumed=resumed)

    def _split(self, held: HeldRun, last_seq: int | None) -> tuple[Account, list[_Rest]]:
        """Split the segments after the store's last frame: the earlier part is standing.

        Returns the writer's account there, and the later segments, each with the account before it.
        """
        segments = held.segments
        end, cut = 0, 0
        for index, segment in enumerate(segments):
            for place, entry in enumerate(segment.entries):
                if last_seq is not None and isinstance(entry, AudioFrame) and entry.seq <= last_seq:
                    end, cut = index, place + 1
        at = held.base
        for segment in segments[:end]:
            at = segment.account
        self._note_standing(segments[:end])
        rest = list(_whole(segments[end:]))
        if not cut:
            return at, rest
        fold = Fold(held.run, at)
        for entry in segments[end].entries[:cut]:
            fold.take(entry)
        at = fold.account
        if cut == len(segments[end].entries):
            at = segments[end].account
        known = Segment(held.run, segments[end].generation, segments[end].entries[:cut], at)
        self._standing.append(Written(known, self._begun_at, segments[end]))
        rest[0] = (segments[end], segments[end].entries[cut:])
        return at, rest if rest[0][1] else rest[1:]

    def _write(
        self,
        run: Run,
        account: Account,
        at: Account,
        rest: Sequence[_Rest],
        *,
        resumed: bool,
    ) -> None:
        """Write the rest of a run after `account`, where the writer counted `at`."""
        opened, before = False, at
        for source, entries in rest or ((None, ()),):
            after = at if source is None else source.account
            of_source = run if source is None else replace(source.run, name=run.name)
            fold = Fold(of_source, account)
            if not opened:
                self._start(fold, Started(0, run.name, resumed, run.opening))
                fold.declare(at.last_seq)
                if not self._is_based:
                    self._base, self._is_based = fold.account, True
                opened = True
            fold.count(before, after)
            self._lose_found(fold, before, after, entries)
            for entry in entries:
                if not isinstance(entry, Started):  # one generation is enough for what is rewritten
                    fold.take(entry)
            if after.state is State.CUT:
                fold.cut()
            segment = fold.segment(self._generation)
            self._add(segment, source)
            counted = before.ledger
            before = with_counts(after, counted.duplicate, counted.rejected, counted.lost)
            account = segment.account

    def _lose_found(
        self, fold: Fold, before: Account, after: Account, entries: Sequence[Entry]
    ) -> None:
        """Declare frames of another writer that were found in the store and were lost again."""
        frames = [entry.seq for entry in entries if isinstance(entry, AudioFrame)]
        found = after.ledger.published - before.ledger.published - len(frames)
        if found > 0:
            self._lost += found
            fold.lose(found, frames[0] - 1 if frames else after.last_seq)

    def _start(self, fold: Fold, started: Started) -> None:
        self._begun_at = fold.account.next_position
        self._generation = self._next_generation
        self._next_generation += 1
        fold.start(replace(started, generation=self._generation))

    def _add(self, segment: Segment, source: Segment | None) -> None:
        self._written.append(Written(segment, self._begun_at, source))
        self._position = segment.account.next_position

    def _note_standing(self, segments: Sequence[Segment]) -> None:
        self._standing += [Written(segment, 0, segment) for segment in segments]


def _whole(segments: Sequence[Segment]) -> Sequence[_Rest]:
    return [(segment, segment.entries) for segment in segments]


def _frames(entries: Sequence[Entry]) -> int:
    return sum(isinstance(entry, AudioFrame) for entry in entries)
