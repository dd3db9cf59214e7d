"""The limit of audio that a process holds: unconfirmed and retained.

Both share one limit. Unconfirmed audio comes first: retained audio is released for it, oldest
first. When none is left there is back-pressure: the senders are not read. Retained audio ages with
its part of the store: an unreachable part does not delay the release of others.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from application.delivery.batch import Batch
from application.ports.telemetry import HeldBytes, Telemetry

FRAMES_PER_SECOND = 100
"""Frames in a second of audio at most: 10 ms each, the shortest that carriers send."""

MIN_ENTRIES = 1_024

JOINED_SECONDS = 0.25
"""Small batches of one stream that are confirmed within this time are retained as one, which takes
less memory. All are retained for this much longer."""

REWIND_SHARE = 4
"""Retained audio of one stream may be this many times longer than the time it is retained, since a
sender may be faster than real time."""


EARLY_SHARE = 4
"""Calls that have not started may hold at most 1/`EARLY_SHARE` of `BUFFER_BYTES`, so that started
calls always have a buffer."""


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """The limits: in seconds of audio for each stream, in bytes for all streams.

    Confirmed audio is retained for `rewind_seconds` of time. A batch that is not full may wait for
    more frames for `linger_seconds`.
    """

    buffer_seconds: float = 45.0
    buffer_bytes: int = 256 * 1024 * 1024
    rewind_seconds: float = 5.0
    linger_seconds: float = 0.0

    @property
    def stream_entries(self) -> int:
        """How many unconfirmed entries one stream may have, however little audio is in them."""
        return max(MIN_ENTRIES, round(self.buffer_seconds * FRAMES_PER_SECOND))

    @property
    def stalled_seconds(self) -> float:
        """How long a sender that can resume stays connected while nothing is confirmed."""
        return 2 * self.buffer_seconds


class Holder(Protocol):
    """The owner of retained batches of one stream, which is in `part` of the store."""

    part: str = ""

    def let_go(self, batch: Batch) -> None:
        """Forget the oldest batch that is retained."""
        ...


class ByteBudget:
    """Counts the held audio of all streams, and the order of confirmation in each part."""

    def __init__(self, limits: BufferLimits, telemetry: Telemetry) -> None:
        self.limits = limits
        self._buffer_bytes = limits.buffer_bytes
        self._telemetry = telemetry
        self._unconfirmed_bytes = self._early_bytes = 0
        self._retained: dict[str, _Queue] = {}
        self._retained_bytes = 0
        self._room = asyncio.Event()
        self.is_full = False
        telemetry.watch(lambda: self.held_bytes)

    @property
    def held_bytes(self) -> HeldBytes:
        """How much is held."""
        return HeldBytes(self._unconfirmed_bytes, self._retained_bytes)

    def add(self, audio_bytes: int) -> None:
        """Add unconfirmed bytes; a negative number removes them.

        Afterwards `is_full` says whether senders must wait for a confirmation.
        """
        unconfirmed = self._unconfirmed_bytes = self._unconfirmed_bytes + audio_bytes
        limit = self._buffer_bytes
        if unconfirmed + self._retained_bytes >= limit:
            self._make_room()
        self.is_full = unconfirmed >= limit
        if audio_bytes < 0 and not self.is_full:
            self._room.set()

    def takes_early(self, audio_bytes: int) -> bool:
        """Return whether calls that have not started may hold so much more."""
        return self._early_bytes + audio_bytes <= self._buffer_bytes // EARLY_SHARE

    def add_early(self, audio_bytes: int) -> None:
        """Add unconfirmed bytes of calls that have not started."""
        self._early_bytes += audio_bytes

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def retain(self, holder: Holder, batch: Batch) -> None:
        """Add a retained batch; batches are released in this order."""
        self._queue_of(holder).append((holder, batch))
        self.grow_retained(batch.audio_bytes)

    def grow_retained(self, audio_bytes: int) -> None:
        """Add the growth of a retained batch; negative when it is released."""
        retained = self._retained_bytes = self._retained_bytes + audio_bytes
        if self._unconfirmed_bytes + retained > self._buffer_bytes:
            self._make_room()

    def let_go_of_old(
        self, alive_at: float, part: str = "", spared: Collection[Holder] = frozenset()
    ) -> None:
        """Release batches that a part confirmed long before `alive_at`, and that it still had then.

        Batches of `spared` holders stay at any age.
        """
        oldest = alive_at - self.limits.rewind_seconds - JOINED_SECONDS
        queue = self._retained.get(part)
        staying: list[tuple[Holder, Batch]] = []
        while queue and queue[0][1].retained_at <= oldest:
            if spared and queue[0][0] in spared:
                staying.append(queue.popleft())
            else:
                _let_go_of_first(queue)
        if queue is not None:
            queue.extendleft(reversed(staying))

    def regroup(self) -> None:
        """Move the batches of a holder to the part that has its stream now."""
        queues, self._retained = self._retained, {}
        held = (one for queue in queues.values() for one in queue if one[1].is_retained)
        for holder, batch in sorted(held, key=_retained_at):
            self._queue_of(holder).append((holder, batch))

    def _queue_of(self, holder: Holder) -> "_Queue":
        queue = self._retained.get(holder.part)
        if queue is None:
            queue = self._retained[holder.part] = deque()
        return queue

    def _make_room(self) -> None:
        while self._unconfirmed_bytes + self._retained_bytes > self._buffer_bytes:
            queues = [queue for queue in self._retained.values() if queue]
            if not queues:
                return
            oldest = min(queues, key=lambda queue: _retained_at(queue[0]))
            self._telemetry.rewind_short(_let_go_of_first(oldest))


_Queue = deque[tuple[Holder, Batch]]
"""The batches that one part confirmed, in order."""


def _retained_at(one: tuple[Holder, Batch]) -> float:
    return one[1].retained_at


def _let_go_of_first(queue: _Queue) -> int:
    holder, batch = queue.popleft()
    if not batch.is_retained:  # it is queued again, or its log is closed
        return 0
    holder.let_go(batch)
    return batch.frames
