"""Turns received items of a run into entries, and into the account after them.

A gap is never received: it follows from the seqs before and after it. So the same items can be
folded again from another position of the run, with the right positions, gaps and ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, Started
from domain.events import EndReason
from domain.head import Run
from domain.ledger import Ledger
from domain.media import AudioFrame


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive entries of one run under one generation; `account` is the run after them."""

    run: Run
    generation: int
    entries: Sequence[Entry]
    account: Account

    @property
    def first_position(self) -> int:
        """The position of the first entry."""
        return self.account.next_position - len(self.entries)

    @property
    def starts_run(self) -> bool:
        """Whether the segment begins the run."""
        first = self.entries[0] if self.entries else None
        return isinstance(first, Started) and not first.resumed


def highest_seq(account: Account) -> int | None:
    """Return the highest seq accepted, also of frames that were dropped; None before the first."""
    spanned = account.ledger.published + account.ledger.missing
    if account.first_seq is None or not spanned:
        return None
    return account.first_seq - 1 + spanned


class Fold:
    """Takes the received items of one run, one after the other, and writes entries.

    `count` adds messages that have no entry.
    """

    def __init__(self, run: Run, account: Account) -> None:
        ledger = account.ledger
        self._run = run
        self._position = account.next_position
        self._first_seq = account.first_seq
        self._last_seq = account.last_seq
        self._highest_seq = highest_seq(account)
        self._published = ledger.published
        self._duplicate = ledger.duplicate
        self._rejected = ledger.rejected
        self._lost = ledger.lost
        self._bytes = ledger.bytes
        self._state = account.state
        self.entries: list[Entry] = []

    @property
    def account(self) -> Account:
        """The run after all items taken."""
        return Account(self._position, self._first_seq, self._last_seq, self._ledger, self._state)

    def start(self, started: Started) -> None:
        """Write the beginning of a generation."""
        self._state = State.LIVE
        self._write(started)

    def take(self, entry: Entry) -> None:
        """Write an entry after the current point; skip a gap, which follows from the next seq."""
        match entry:
            case AudioFrame():
                self._take_frame(entry)
            case Ended(reason, _, recovered):
                self.end(reason, recovered=recovered)
            case Started():
                self.start(entry)
            case Gap():
                pass
            case _:
                self._write(entry)

    def count(self, before: Account, after: Account) -> None:
        """Add the difference of two accounts of the run, except for published frames.

        Frames that were dropped extend the range of seqs: they are missing from then on. `before`
        may have counted more: these are counted once.
        """
        old, new = before.ledger, after.ledger
        self._duplicate += max(0, new.duplicate - old.duplicate)
        self._rejected += max(0, new.rejected - old.rejected)
        self._lost += max(0, new.lost - old.lost)
        if new.lost > old.lost:
            reached = highest_seq(before)
            first = after.first_seq
            if reached is not None and first == before.first_seq:
                first = reached + 1
            self._extend(first, highest_seq(after))

    def lose(self, frames: int, upto: int | None) -> None:
        """Count `frames` as lost, which no store and no writer has, and declare them."""
        self._lost += frames
        self._extend(self._first_seq, upto)
        self.declare(upto)

    def declare(self, upto: int | None) -> None:
        """Write a gap for every seq up to `upto` that is neither published nor declared."""
        if upto is None:
            return
        first = self._first_seq if self._last_seq is None else self._last_seq + 1
        if first is not None and first <= upto:
            self._write(Gap(first, upto - first + 1))
            self._last_seq = upto

    def end(self, reason: EndReason, *, recovered: bool = False) -> None:
        """Write the end of the run, after a gap for the frames that were dropped last."""
        self.declare(self._highest_seq)
        self._state = State.ENDED
        self._write(Ended(reason, self._ledger, recovered))

    def cut(self) -> None:
        """Note that the run is without its sender."""
        self._state = State.CUT

    def segment(self, generation: int) -> Segment:
        """Return the written entries as one segment."""
        return Segment(self._run, generation, tuple(self.entries), self.account)

    def _take_frame(self, frame: AudioFrame) -> None:
        seq = frame.seq
        is_lower = self._last_seq is None and self._first_seq is not None and seq < self._first_seq
        if self._first_seq is None or is_lower:  # all before it was dropped
            self._first_seq = seq
        self.declare(seq - 1)
        self._last_seq = seq
        self._extend(seq, seq)
        self._published += 1
        self._bytes += len(frame.audio)
        self._write(frame)

    def _extend(self, first: int | None, last: int | None) -> None:
        if self._first_seq is None:
            self._first_seq = first
        elif first is not None and self._last_seq is None:  # all so far was dropped
            self._first_seq = min(first, self._first_seq)
        if last is not None and (self._highest_seq is None or last > self._highest_seq):
            self._highest_seq = last

    def _write(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._position += 1

    @property
    def _ledger(self) -> Ledger:
        spanned = 0
        if self._first_seq is not None and self._highest_seq is not None:
            spanned = self._highest_seq - self._first_seq + 1
        settled = self._published + self._duplicate + self._rejected + self._lost
        return Ledger(
            settled,
            self._published,
            self._duplicate,
            self._rejected,
            self._lost,
            spanned - self._published,
            self._bytes,
            self._run.opening.media.duration_ms(self._bytes),
        )


def nothing_published(account: Account, position: int) -> Account:
    """Return the account of a run that the store has lost: its published frames are lost."""
    ledger = account.ledger
    lost = replace(
        ledger,
        lost=ledger.lost + ledger.published,
        missing=ledger.missing + ledger.published,
        published=0,
        bytes=0,
        audio_ms=0,
    )
    return replace(account, next_position=position, last_seq=None, ledger=lost)


def with_counts(account: Account, duplicate: int, rejected: int, lost: int) -> Account:
    """Return an account with at least these counts, except for published frames."""
    ledger = account.ledger
    duplicate = max(duplicate, ledger.duplicate)
    rejected = max(rejected, ledger.rejected)
    lost = max(lost, ledger.lost)
    received = ledger.published + duplicate + rejected + lost
    counted = replace(ledger, received=received, duplicate=duplicate, rejected=rejected, lost=lost)
    return replace(account, ledger=counted)


def reconciled(known: Account, held: Account) -> Account:
    """Merge the store's account `known` of a run with its writer's account `held`.

    Both describe the same point. Frames that the writer published and the store lacks are lost.
    Frames that the store has and the writer does not know were published by another writer.
    """
    ours, theirs = held.ledger, known.ledger
    first = min((it for it in (known.first_seq, held.first_seq) if it is not None), default=None)
    ends = [it for it in (highest_seq(known), highest_seq(held)) if it is not None]
    spanned = 0 if first is None or not ends else max(ends) - first + 1
    duplicate = max(ours.duplicate, theirs.duplicate)
    rejected = max(ours.rejected, theirs.rejected)
    lost = max(ours.lost + ours.published - theirs.published, theirs.lost)
    ledger = Ledger(
        theirs.published + duplicate + rejected + lost,
        theirs.published,
        duplicate,
        rejected,
        lost,
        spanned - theirs.published,
        theirs.bytes,
        theirs.audio_ms,
    )
    return replace(known, first_seq=first, ledger=ledger)
