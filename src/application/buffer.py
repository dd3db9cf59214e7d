"""The audio that a process holds: what is not confirmed yet, and what is kept to refill a broker.

Both share one bound. What is not confirmed comes first: confirmed audio makes room for it, oldest
first, and when there is none left the senders are not read.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

from application.packing import PackedEvents
from application.ports.telemetry import HeldBytes, Telemetry
from domain.account import Account
from domain.events import Event
from domain.media import MediaFormat

FRAMES_PER_SECOND = 100
"""Most frames a second of audio is thought to have: 10 ms each, the shortest that carriers send."""

LEAST_EVENTS = 1_024

KEPT_TOGETHER_SECONDS = 0.25
"""Small batches of one stream confirmed within so short a time are kept as one: it takes less
memory. All are kept so much longer."""

REWIND_SHARE = 4
"""Kept audio of one stream may last so many times longer than it is kept: a sender may be faster
than real time."""


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much may be held: per stream in seconds of its audio, of all streams in bytes.

    Confirmed audio is kept for `rewind_seconds` of time.
    """

    buffer_seconds: float = 45.0
    buffer_bytes: int = 256 * 1024 * 1024
    rewind_seconds: float = 5.0

    @property
    def stream_events(self) -> int:
        """How many unconfirmed events one stream may have, however little audio is in them."""
        return max(LEAST_EVENTS, round(self.buffer_seconds * FRAMES_PER_SECOND))

    @property
    def patience_seconds(self) -> float:
        """How long a sender that comes back is held on to although nothing can be confirmed."""
        return 2 * self.buffer_seconds


@dataclass(slots=True, eq=False)
class HeldBatch:
    """Consecutive events of one stream; `account` is the run once all of them are published.

    `audio_bytes` is what the sender said: audio, and the details of signals. `received_at` are
    monotonic seconds, one a frame, and None once the batch is confirmed; it is *kept* since
    `first_kept_at`. `is_refill` if it was confirmed, and the broker has forgotten it.
    """

    first_position: int
    events: list[Event]
    account: Account
    audio_bytes: int = 0
    frames: int = 0
    received_at: list[float] | None = None
    first_kept_at: float = 0.0
    is_kept: bool = False
    is_refill: bool = False
    packed: PackedEvents | None = None

    @property
    def end(self) -> int:
        """The position behind the last event."""
        return self.account.next_position

    @property
    def count(self) -> int:
        """How many events there are, packed or not."""
        return self.end - self.first_position

    def pack(self, media: MediaFormat) -> None:
        """Take less memory, until `unpack`."""
        if self.packed is None and self.events:
            self.packed = PackedEvents(self.events, media)
        if self.packed is not None:
            self.events = []

    def unpack(self) -> None:
        """Have `events` at hand. What was packed is kept, to be packed again for nothing."""
        if self.packed is not None and not self.events:
            self.events = self.packed.unpack(self.first_position)

    def forget(self) -> None:
        """Drop the events: the buffer knows of the batch until its time is over."""
        self.events, self.packed = [], None

    def unconfirmed(self) -> "HeldBatch":
        """Return the batch as one that has to be confirmed, perhaps once more."""
        self.unpack()
        return replace(self, packed=None, is_kept=False, is_refill=self.is_refill or self.is_kept)


class Holder(Protocol):
    """Whoever holds batches and is told when one has to be let go."""

    def let_go(self, held: HeldBatch) -> None:
        """Forget the oldest batch that is kept."""
        ...


class Buffer:
    """Knows how much is held by all streams, and what of it was confirmed when."""

    def __init__(self, limits: BufferLimits, telemetry: Telemetry) -> None:
        self.limits = limits
        self._buffer_bytes = limits.buffer_bytes
        self._telemetry = telemetry
        self._unconfirmed_bytes = 0
        self._kept: deque[tuple[Holder, HeldBatch]] = deque()
        self._kept_bytes = 0
        self._room = asyncio.Event()
        self.is_full = False
        telemetry.watch(lambda: self.held_bytes)

    @property
    def held_bytes(self) -> HeldBytes:
        """How much is held."""
        return HeldBytes(self._unconfirmed_bytes, self._kept_bytes)

    def add(self, audio_bytes: int) -> None:
        """Note that there is more that is not confirmed, or less when negative.

        `is_full` is then whether no sender must be read until something is confirmed.
        """
        unconfirmed = self._unconfirmed_bytes = self._unconfirmed_bytes + audio_bytes
        most = self._buffer_bytes
        if unconfirmed + self._kept_bytes >= most:
            self._make_room()
        self.is_full = unconfirmed >= most
        if audio_bytes < 0 and not self.is_full:
            self._room.set()

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def keep(self, holder: Holder, held: HeldBatch) -> None:
        """Note a batch that is kept from now on; what is kept later is let go later."""
        self._kept.append((holder, held))
        self.grow_kept(held.audio_bytes)

    def grow_kept(self, audio_bytes: int) -> None:
        """Note that a kept batch has grown, or that one is kept no more when negative."""
        kept = self._kept_bytes = self._kept_bytes + audio_bytes
        if self._unconfirmed_bytes + kept > self._buffer_bytes:
            self._make_room()

    def let_go_of_old(self, alive_at: float) -> None:
        """Let go of what was confirmed long enough before `alive_at`, when the broker knew it."""
        oldest = alive_at - self.limits.rewind_seconds - KEPT_TOGETHER_SECONDS
        while self._kept and self._kept[0][1].first_kept_at <= oldest:
            self._let_go_of_first()

    def _make_room(self) -> None:
        while self._kept and self._unconfirmed_bytes + self._kept_bytes > self._buffer_bytes:
            self._telemetry.rewind_short(self._let_go_of_first())

    def _let_go_of_first(self) -> int:
        holder, held = self._kept.popleft()
        if not held.is_kept:  # its stream has had another use for it
            return 0
        holder.let_go(held)
        return held.frames
