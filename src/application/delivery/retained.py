"""The replay buffer of one stream: entries confirmed in the last `REWIND_SECONDS`."""

from dataclasses import replace

from application.delivery.batch import Batch
from application.delivery.byte_budget import JOINED_SECONDS, REWIND_SHARE, ByteBudget, Holder
from application.ports.telemetry import Telemetry
from domain.account import Account
from domain.entries import Ended
from domain.head import Run

BATCH_ENTRIES = 128
BATCH_BYTES = 512 * 1024
"""A batch is one append, during which the store serves no other request: about a millisecond."""

SMALL_FRAME_BYTES = 2_048
"""Frames with less audio take much more memory than their audio."""

RETAINED_FRAMES_PER_SECOND = 400
"""The limit by number, which matters for frames shorter than 2.5 ms; longer ones are limited by
bytes."""

OTHER_ENTRY_FRAMES = 16
"""An entry other than a frame is not packed, and counts as this many frames."""


class Retained(Holder):
    """The confirmed batches of one stream, in order.

    `run` and `base` are the run and the account before the first batch.
    """

    def __init__(self, budget: ByteBudget, telemetry: Telemetry) -> None:
        self.run: Run | None = None
        self.base = Account()
        self._budget = budget
        self._telemetry = telemetry
        self._batches: list[Batch] = []
        self._audio_bytes = self._frames = 0
        self._rewind_seconds = budget.limits.rewind_seconds

    @property
    def is_empty(self) -> bool:
        """Whether nothing is retained."""
        return not self._batches

    @property
    def numbered(self) -> list[Batch]:
        """The batches whose positions are known; they follow those at unknown positions."""
        return [batch for batch in self._batches if batch.is_numbered]

    @property
    def account(self) -> Account:
        """The account of the run after the last retained entry."""
        return self._batches[-1].account if self._batches else self.base

    def has_end_at(self, position: int) -> bool:
        """Whether the end of a run is retained at this position."""
        return any(
            type(batch.unpacked()[position - batch.first_position]) is Ended
            for batch in self._batches
            if batch.is_numbered and batch.first_position <= position < batch.end
        )

    def add(self, batch: Batch, now: float) -> None:
        """Retain a batch that was confirmed at monotonic `now`, after all others."""
        batches, count = self._batches, batch.count
        if not self._rewind_seconds or not (count or batches):
            self.run, self.base = batch.run, batch.account
            return
        if not count:
            batches[-1].account = replace(
                batch.account, next_position=batches[-1].account.next_position
            )
            return
        self._audio_bytes += batch.audio_bytes
        self._frames += count if count == batch.frames else _as_frames(batch)
        last = batches[-1] if batches else None
        if last is not None and _may_join(last, batch, now):
            last.entries += batch.entries
            last.account = batch.account
            last.count += count
            last.audio_bytes += batch.audio_bytes
            last.frames += batch.frames
            last.received_from = last.received_from or batch.received_from
            last.received_to = batch.received_to or last.received_to
            self._budget.grow_retained(batch.audio_bytes)
        else:
            if last is not None and last.audio_bytes < SMALL_FRAME_BYTES * last.frames:
                last.pack()
            batch.is_retained, batch.retained_at = True, now
            batches.append(batch)
            self._budget.retain(self, batch)
        while len(batches) > 1 and self._is_too_much():
            self._telemetry.rewind_short(batches[0].frames)
            self.let_go(batches[0])

    def reset(self, run: Run, base: Account) -> None:
        """Retain nothing; the next batch follows the account `base` of `run`."""
        self.take_all()
        self.run, self.base = run, base

    def frames_from(self, position: int) -> int:
        """Return how many frames are retained from this position on."""
        return sum(
            batch.frames_after(max(0, position - batch.first_position))
            for batch in self.numbered
            if batch.end > position
        )

    def let_go(self, batch: Batch) -> None:
        """Drop the first batch. See `Holder`."""
        del self._batches[0]
        self.run, self.base = batch.run, batch.account
        self._forget(batch)

    def take_from(self, position: int) -> list[Batch]:
        """Remove and return the numbered batches that reach above `position`."""
        taken: list[Batch] = []
        while self._batches:
            last = self._batches[-1]
            if not last.is_numbered or last.end <= position:
                break
            taken.append(self._take_out(self._batches.pop()))
        return taken[::-1]

    def take_all(self) -> list[Batch]:
        """Remove and return all batches."""
        taken = [self._take_out(batch) for batch in self._batches]
        self._batches.clear()
        return taken

    def _is_too_much(self) -> bool:
        """Whether it was received faster than `REWIND_SHARE` times real time.

        The time of reception counts: after an outage many frames are confirmed at once.
        """
        batches, seconds = self._batches, REWIND_SHARE * self._rewind_seconds
        bytes_per_second = batches[-1].run.opening.media.bytes_per_second
        if (
            self._audio_bytes <= seconds * bytes_per_second
            and self._frames <= seconds * RETAINED_FRAMES_PER_SECOND
        ):
            return False
        first = next((it for it in batches if it.received_from is not None), None)
        last = next((it for it in reversed(batches) if it.received_to is not None), None)
        if first is not None and last is not None:
            received = (last.received_to or 0.0) - (first.received_from or 0.0)
            seconds = max(seconds, REWIND_SHARE * received)
        return (
            self._audio_bytes > seconds * bytes_per_second
            or self._frames > seconds * RETAINED_FRAMES_PER_SECOND
        )

    def _take_out(self, batch: Batch) -> Batch:
        """Return a copy, since the budget still has the retained batch."""
        taken = replace(batch, is_retained=False)
        self._forget(batch)
        return taken

    def _forget(self, batch: Batch) -> None:
        self._audio_bytes -= batch.audio_bytes
        self._frames -= _as_frames(batch)
        self._budget.grow_retained(-batch.audio_bytes)
        batch.forget()


def _may_join(last: Batch, batch: Batch, now: float) -> bool:
    return (
        now - last.retained_at < JOINED_SECONDS
        and last.lease is batch.lease
        and last.is_numbered is batch.is_numbered
        and last.packed is None
        and batch.packed is None
        and last.count + batch.count <= BATCH_ENTRIES
        and last.audio_bytes + batch.audio_bytes <= BATCH_BYTES
    )


def _as_frames(batch: Batch) -> int:
    return batch.frames + OTHER_ENTRY_FRAMES * (batch.count - batch.frames)
