"""The unconfirmed batches of one stream, by position.

    open → queued → in flight → (confirmed)

Positions follow from the order: the window numbers the entries that are put into it. It does not
handle leases: `StreamLog` assigns them.
"""

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.retained import BATCH_BYTES, BATCH_ENTRIES
from domain.account import Account
from domain.entries import Entry
from domain.head import Lease, Run
from domain.media import AudioFrame


class SendWindow:
    """The unconfirmed batches. `next_position` is the first position after the closed batches."""

    __slots__ = (
        "_budget",
        "audio_bytes",
        "count",
        "in_flight",
        "in_flight_bytes",
        "next_position",
        "open_bytes",
        "open_entries",
        "open_received_at",
        "queued",
    )

    def __init__(self, next_position: int, budget: ByteBudget) -> None:
        self._budget = budget
        self.next_position = next_position
        self.queued: list[Batch] = []
        self.in_flight: list[Batch] = []
        self.in_flight_bytes = 0
        """The audio in the batches that were taken last, in bytes."""
        self.open_entries: list[Entry] = []
        self.open_received_at: list[float] = []
        self.open_bytes = 0
        self.count = 0
        self.audio_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything is confirmed."""
        return not (self.open_entries or self.queued or self.in_flight)

    @property
    def oldest_received_at(self) -> float | None:
        """When the first frame without any confirmation was received; None without one."""
        for batch in (*self.in_flight, *self.queued):
            if batch.received_at:
                return batch.received_at[0]
        return self.open_received_at[0] if self.open_received_at else None

    @property
    def replayed_bytes(self) -> int:
        """The audio that is replayed, in bytes."""
        batches = (*self.in_flight, *self.queued)
        return sum(batch.audio_bytes for batch in batches if batch.was_confirmed)

    def put(self, entries: tuple[Entry, ...], received_at: float, size: int) -> bool:
        """Add entries of `size` bytes to the open batch; return True if it is full then."""
        held = self.open_entries
        for entry in entries:
            held.append(entry)
            if type(entry) is AudioFrame:
                self.open_received_at.append(received_at)
        self.open_bytes += size
        self._grow(len(entries), size)
        return len(held) >= BATCH_ENTRIES or self.open_bytes >= BATCH_BYTES

    def close(self, run: Run, lease: Lease, begun_at: int, account: Account) -> Batch:
        """Queue the open batch, which may be empty; `account` is that of the run after it."""
        received_at = self.open_received_at
        batch = Batch(
            run,
            lease,
            begun_at,
            self.open_entries,
            account,
            len(self.open_entries),
            self.open_bytes,
            len(received_at),
            received_at,
        )
        self.next_position = account.next_position
        self.queued.append(batch)
        self.open_entries, self.open_received_at, self.open_bytes = [], [], 0
        return batch

    def queue(self, batch: Batch) -> None:
        """Queue a closed batch after all others."""
        self.queued.append(batch)
        self.next_position = batch.end
        self._grow(batch.count, batch.audio_bytes)

    def take(self) -> list[Batch]:
        """Move the next batches into flight, as many as one append may carry, and return them.

        They end with a lease, since later batches belong to another head.
        """
        queued = self.queued
        first = queued[0]
        taken, entries, size = 1, first.count, first.audio_bytes
        while taken < len(queued):
            batch = queued[taken]
            entries += batch.count
            is_of_lease = batch.lease.owner == first.lease.owner
            if not is_of_lease or entries > BATCH_ENTRIES or size + batch.audio_bytes > BATCH_BYTES:
                break
            size += batch.audio_bytes
            taken += 1
        self.in_flight, self.in_flight_bytes = queued[:taken], size
        del queued[:taken]
        return self.in_flight

    def put_back(self) -> None:
        """Queue the batches in flight again."""
        self.queued[:0] = self.in_flight
        self.in_flight = []

    def confirm(self) -> list[Batch]:
        """Return the batches that were in flight: they are stored."""
        confirmed, self.in_flight = self.in_flight, []
        for batch in confirmed:
            self._grow(-batch.count, -batch.audio_bytes)
        return confirmed

    def confirm_below(self, position: int) -> list[Batch]:
        """Return the queued batches up to `position`; mark the stored part of the next one."""
        reached = 0
        for batch in self.queued:
            if batch.end > position:
                batch.stored = max(0, position - batch.first_position)
                break
            reached += 1
        self.in_flight = self.queued[:reached]
        del self.queued[:reached]
        return self.confirm()

    def replay(self, batches: list[Batch], position: int) -> None:
        """Queue confirmed batches again, in front; the store has all entries below `position`."""
        for batch in batches:
            batch.stored = max(0, position - batch.first_position)
            self._grow(batch.count, batch.audio_bytes)
        self.queued[:0] = batches

    def drop(self) -> list[Batch]:
        """Empty the window; return its batches, except for the open one."""
        self.put_back()
        dropped, self.queued = self.queued, []
        self.open_entries, self.open_received_at, self.open_bytes = [], [], 0
        self._grow(-self.count, -self.audio_bytes)
        return dropped

    def _grow(self, count: int, audio_bytes: int) -> None:
        self.count += count
        self.audio_bytes += audio_bytes
        if audio_bytes:
            self._budget.add(audio_bytes)
