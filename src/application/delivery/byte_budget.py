"""The bytes of audio that a process may hold: what is not confirmed yet, and what is retained.

Both share one bound. What is not confirmed comes first: retained audio makes room for it, oldest
first, and when none is left there is back-pressure: the senders are not read. What is retained gets
old with its part of the store: a part that is away keeps no audio of another.
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
"""Small batches of one stream confirmed within so short a time are retained as one: it takes less
memory. All are retained so much longer."""

REWIND_SHARE = 4
"""Retained audio of one stream may last so many times longer than it is retained: a sender may be
faster than real time."""


EARLY_SHARE = 4
"""Of the bytes, calls that have not started may take so great a part: who does not start a call
must not leave those that have started without a buffer."""


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much may be held: per stream in seconds of its audio, of all streams in bytes.

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
        """How long a sender that reconnects is kept although nothing can be confirmed."""
        return 2 * self.buffer_seconds


class Holder(Protocol):
    """Retains batches of one stream, which is in `part` of the store."""

    part: str = ""

    def let_go(self, batch: Batch) -> None:
        """Forget the oldest batch that is retained."""
        ...


class ByteBudget:
    """Counts what all streams hold, and in which order it was confirmed in each part."""

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
        """Count more that is not confirmed, or less when negative.

        `is_full` tells then whether no sender must be read until something is confirmed.
        """
        unconfirmed = self._unconfirmed_bytes = self._unconfirmed_bytes + audio_bytes
        limit = self._buffer_bytes
        if unconfirmed + self._retained_bytes >= limit:
            self._make_room()
        self.is_full = unconfirmed >= limit
        if audio_bytes < 0 and not self.is_full:
            self._room.set()

    def takes_early(self, audio_bytes: int) -> bool:
        """Tell whether so much more may be held of calls that have not started."""
        return self._early_bytes + audio_bytes <= self._buffer_bytes // EARLY_SHARE

    def add_early(self, audio_bytes: int) -> None:
        """Note how much of what is not confirmed is of calls that have not started."""
        self._early_bytes += audio_bytes

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def retain(self, holder: Holder, batch: Batch) -> None:
        """Count a batch that is retained from now on; what is retained later is let go later."""
        self._queue_of(holder).append((holder, batch))
        self.grow_retained(batch.audio_bytes)

    def grow_retained(self, audio_bytes: int) -> None:
        """Count what a retained batch has grown by; negative when one is no longer retained."""
        retained = self._retained_bytes = self._retained_bytes + audio_bytes
        if self._unconfirmed_bytes + retained > self._buffer_bytes:
            self._make_room()

    def let_go_of_old(
        self, alive_at: float, part: str = "", spared: Collection[Holder] = frozenset()
    ) -> None:
        """Let go of what a part confirmed long enough before `alive_at`, when it still had it.

        What holders retain that are `spared` stays, whatever its age.
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
        """Have what is retained get old with the part that its stream is in now."""
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
"""What one part confirmed, in order."""


def _retained_at(one: tuple[Holder, Batch]) -> float:
    return one[1].retained_at


def _let_go_of_first(queue: _Queue) -> int:
    holder, batch = queue.popleft()
    if not batch.is_retained:  # it is queued again, or its log is closed
        return 0
    holder.let_go(batch)
    return batch.frames
