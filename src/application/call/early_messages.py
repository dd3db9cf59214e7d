"""Holds the messages of one stream that arrive before it is started, in order and bounded.

Some carriers send audio before the start, or cannot say whether they resume an open run: their
first frame decides. Others do not wait for the answer to their start, which may take long while the
broker is away. Before the start the limit is small; after it, the stream's buffer limit applies.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from application.call.messages import Audio, End, Refusal, Refused, SignalMessage, refusal_of
from application.delivery.byte_budget import ByteBudget
from application.ports.clock import Instant
from application.ports.telemetry import Telemetry
from domain.errors import InvalidAudio
from domain.media import MAX_FRAME_BYTES, AudioFrame, MediaFormat

EarlyMessage = Audio | SignalMessage | End | Refused

Held = tuple[EarlyMessage, Instant]
"""A message, and when it was heard."""

MAX_BYTES_BEFORE_START = 512 * 1024
"""The limit of one stream before its start: 50 frames of 200 ms at 24 kHz, and some more."""


@dataclass(frozen=True, slots=True)
class FirstAudio:
    """The first frame of a sender, held or dropped; `seq` None where it has no number."""

    seq: int | None


@dataclass(slots=True)
class Dropped:
    """Messages dropped by the full buffer, to be counted once the stream is started.

    `frames` counts new frames, from `first_seq` to `last_seq`; both are None if frames have no
    numbers. `highest_seq` is the highest number received, including held frames.
    """

    frames: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    highest_seq: int | None = None
    duplicates: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)

    def note_held(self, seq: int | None) -> None:
        """Note a frame that is held."""
        highest = self.highest_seq
        if highest is not None:
            seq = highest + 1 if seq is None else max(seq, highest)
        self.highest_seq = seq

    def drop(self, seq: int | None) -> None:
        """Note a frame that is not held."""
        if seq is not None and self.highest_seq is not None and seq <= self.highest_seq:
            self.duplicates += 1
            return
        self.note_held(seq)
        self.frames += 1
        self.last_seq = self.highest_seq
        if self.frames == 1:
            self.first_seq = self.last_seq


class EarlyMessages:
    """A queue of the early messages of one track, which counts the messages that it refuses.

    The queue of the main stream (track None) also holds frames of other tracks until its start.
    """

    def __init__(
        self,
        max_before_start: int,
        budget: ByteBudget,
        telemetry: Telemetry,
        track: str | None = None,
    ) -> None:
        self._track = track
        self._max_before_start = max_before_start
        self._budget = budget
        self._telemetry = telemetry
        self._media: MediaFormat | None = None
        self._held: deque[Held] = deque()
        self._held_bytes = 0
        self._dropped = Dropped()
        self.first_audio: FirstAudio | None = None
        """The first frame of the track: held from before the start, or received after it."""
        self.has_ended = False
        """Whether the sender has sent its end."""

    @property
    def is_full(self) -> bool:
        """Whether the start is requested, and the stream's buffer limit is reached."""
        if self._media is None:
            return False
        limits = self._budget.limits
        return (
            self._held_bytes >= limits.buffer_seconds * self._media.bytes_per_second
            or len(self._held) >= limits.stream_entries
            or self._budget.is_full
        )

    def _is_bound_reached(self, size: int) -> bool:
        """Whether these bytes would exceed the limit before the start."""
        return (
            len(self._held) >= self._max_before_start
            or self._held_bytes + size > MAX_BYTES_BEFORE_START
            or not self._budget.takes_early(size)
        )

    def note_start(self, media: MediaFormat) -> None:
        """Apply the buffer limit of a stream of this format from now on."""
        if self._media is None:
            self._budget.add_early(-self._held_bytes)
        self._media = media

    def hold(self, message: Audio | SignalMessage | Refused, heard: Instant) -> None:
        """Hold a message, or count it if the buffer is full."""
        size = _size(message)
        is_full = self.is_full if self._media is not None else self._is_bound_reached(size)
        if is_full and isinstance(message, SignalMessage):
            self._telemetry.ignored("back_pressure")
        elif self._media is None and size > MAX_FRAME_BYTES:
            self._count_refused(Refusal.FRAME_TOO_LARGE.value)
        elif is_full and self._media is None:
            self._count_refused(Refusal.UNEXPECTED_EVENT.value)
        elif is_full and isinstance(message, Refused):
            self._dropped.refused[message.refusal] += 1
        else:
            self._grow(size)
            self._held.append((message, heard))
            if isinstance(message, Audio) and message.track == self._track:
                self._note_first(message)
                self._dropped.note_held(message.seq)

    def hold_end(self, end: End, heard: Instant) -> None:
        """Hold the end; there is one."""
        if not self.has_ended:
            self.has_ended = True
            self._held.append((end, heard))

    def drop(self, message: Audio | SignalMessage) -> None:
        """Note a message that is dropped while the buffer is full: a frame is lost.

        One that would be refused is refused.
        """
        if isinstance(message, SignalMessage):
            self._telemetry.ignored("back_pressure")
            return
        self._note_first(message)
        refusal = self._refusal_of(message)
        if refusal is None:
            self._dropped.drop(message.seq)
        else:
            self._dropped.refused[refusal] += 1

    def release(self) -> Held | None:
        """Return the next held message; None if there is none."""
        if not self._held:
            return None
        held = self._held.popleft()
        self._grow(-_size(held[0]))
        return held

    def release_tracks(self) -> list[tuple[Audio, Instant]]:
        """Return the frames of other tracks, in order, each with when it was heard."""
        held, self._held, others = self._held, deque[Held](), list[tuple[Audio, Instant]]()
        for message, heard in held:
            if isinstance(message, Audio) and message.track != self._track:
                self._grow(-_size(message))
                others.append((message, heard))
            else:
                self._held.append((message, heard))
        return others

    @property
    def dropped_frames(self) -> int:
        """How many dropped frames are not counted yet."""
        return self._dropped.frames

    def take_dropped(self) -> Dropped:
        """Return the drops that are not counted yet; the caller counts them."""
        dropped, self._dropped = self._dropped, Dropped()
        return dropped

    def discard(self, *, refused_for: str | None) -> None:
        """Drop and count everything: as rejected for a reason, or as lost if it is None."""
        dropped, self.first_audio = self.take_dropped(), None
        frames, refused = dropped.frames, dropped.refused
        while (held := self.release()) is not None:
            message, _ = held
            if isinstance(message, Audio):
                frames += 1
            elif isinstance(message, Refused):
                refused[message.refusal] += 1
        if frames and refused_for is None:
            self._telemetry.received(frames)
            self._telemetry.frames("lost", frames, reason="not_started")
        elif frames and refused_for is not None:
            self._count_refused(refused_for, frames)
        if dropped.duplicates:
            self._telemetry.received(dropped.duplicates)
            self._telemetry.frames("duplicate", dropped.duplicates)
        for refusal, messages in refused.items():
            self._count_refused(refusal.value, messages)

    def _refusal_of(self, frame: Audio) -> Refusal | None:
        """Return why a frame after the start is refused; None if it is not."""
        if self._media is not None:
            try:
                AudioFrame(self._media, frame.seq or 0, 0, frame.audio)
            except InvalidAudio as why:
                return refusal_of(why)
        return None

    def _note_first(self, frame: Audio) -> None:
        if self.first_audio is None:
            self.first_audio = FirstAudio(frame.seq)

    def _grow(self, size: int) -> None:
        self._held_bytes += size
        self._budget.add(size)
        if self._media is None:
            self._budget.add_early(size)

    def _count_refused(self, reason: str, messages: int = 1) -> None:
        self._telemetry.received(messages)
        self._telemetry.frames("rejected", messages, reason=reason)


def _size(message: EarlyMessage) -> int:
    match message:
        case Audio(_, audio):
            return len(audio)
        case SignalMessage(_, details):
            return len(details)
    return 0
