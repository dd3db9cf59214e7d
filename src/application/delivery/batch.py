"""Consecutive entries of one stream that are appended together."""

from dataclasses import dataclass

from application.delivery.packing import PackedEntries
from domain.account import Account
from domain.entries import Entry
from domain.fold import Segment
from domain.head import Head, Lease, Revision, Run
from domain.media import AudioFrame


@dataclass(slots=True, eq=False)
class Batch:
    """Entries of one run under one lease; `account` is that of the run after the last entry.

    `begun_at` is the position of the lease's `Started`. `audio_bytes` counts audio and the details
    of signals. `received_at` has a monotonic time for each frame. After the confirmation it is
    None, and `received_from` and `received_to` keep the first and the last time. The first `stored`
    entries are in the store already. The positions of a batch that is not `numbered` are unknown. A
    batch that `is_foreign` ends a run of another process: it is never written again, since that run
    is not held here.
    """

    run: Run
    lease: Lease
    begun_at: int
    entries: list[Entry]
    account: Account
    count: int
    audio_bytes: int = 0
    frames: int = 0
    received_at: list[float] | None = None
    received_from: float | None = None
    received_to: float | None = None
    stored: int = 0
    retained_at: float = 0.0
    is_retained: bool = False
    is_numbered: bool = True
    is_foreign: bool = False
    packed: PackedEntries | None = None

    @property
    def was_confirmed(self) -> bool:
        """Whether the store had it before: such a batch in the window is a replay."""
        return self.received_at is None

    @property
    def first_position(self) -> int:
        """The position of the first entry."""
        return self.account.next_position - self.count

    @property
    def end(self) -> int:
        """The position after the last entry."""
        return self.account.next_position

    def note_confirmed(self) -> None:
        """Note that the store has it; keep only the first and the last time of its frames."""
        if self.received_at:
            self.received_from, self.received_to = self.received_at[0], self.received_at[-1]
        self.received_at = None
        self.stored = 0

    def segment(self) -> Segment:
        """Return all entries, for a rebase."""
        return Segment(self.run, self.lease.generation, tuple(self.unpacked()), self.account)

    def rest(self) -> Segment:
        """Return the entries that are not stored yet."""
        entries = self.unpacked()
        if self.stored:
            entries = entries[self.stored :]
        return Segment(self.run, self.lease.generation, entries, self.account)

    def frames_after(self, entries: int) -> int:
        """Count the frames after the first `entries`."""
        if not entries:
            return self.frames
        return sum(type(entry) is AudioFrame for entry in self.unpacked()[entries:])

    def head(self, revision: Revision, first_kept: int) -> Head:
        """Return the stream's head after the batch."""
        return Head(revision, self.lease, self.begun_at, self.run, self.account, first_kept)

    def pack(self) -> None:
        """Pack the entries, to save memory."""
        if self.packed is None and self.entries:
            self.packed = PackedEntries(self.entries, self.run.opening.media)
        if self.packed is not None:
            self.entries = []

    def unpacked(self) -> list[Entry]:
        """Return the entries; a packed batch stays packed."""
        if self.packed is not None and not self.entries:
            return self.packed.unpack()
        return self.entries

    def forget(self) -> None:
        """Drop the entries; the budget still has the batch until it is old."""
        self.is_retained = False
        self.entries, self.packed = [], None
