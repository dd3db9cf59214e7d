"""What is said before a stream is started.

Some carriers send audio before they say what it is of, and cannot say whether they go on with an
open run; both is told by what they say next. Others do not wait for the answer to their start,
which may take long when the broker is away. What comes early is held, within a bound, and said
again once the stream is started. The bound is small before the start and that of any stream after.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from adapters.inbound.close_codes import CloseCode, CloseReason, Closing
from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.messages import (
    STARTED_ALREADY,
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalSaid,
    Start,
    Unknown,
)
from application.delivery.byte_budget import ByteBudget
from application.ports.telemetry import Telemetry
from domain.events import GoOn, GoOnAbove
from domain.media import MAX_FRAME_BYTES

Held = Audio | SignalSaid | End | Refused
"""What is said again once the stream is started."""


MOST_HELD_BYTES = 512 * 1024
"""What one connection may have held for it: 50 frames of 200 ms at 24 kHz and some."""


def _size(message: Held) -> int:
    match message:
        case Audio(_, audio):
            return len(audio)
        case SignalSaid(_, details):
            return len(details)
    return 0


@dataclass(slots=True)
class Dropped:
    """What there was no room for, behind all that is held: what it counts as once it may count.

    `frames` are new ones, from `first_seq` to `last_seq`; these are None where frames have no
    numbers. Up to `highest_seq` a number has been heard, held ones included.
    """

    frames: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    highest_seq: int | None = None
    duplicates: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)

    def hear(self, seq: int | None) -> None:
        """Note a frame that is held."""
        highest = self.highest_seq
        if highest is not None:
            seq = highest + 1 if seq is None else max(seq, highest)
        self.highest_seq = seq

    def drop(self, seq: int | None) -> None:
        """Note a frame that is not."""
        if seq is not None and self.highest_seq is not None and seq <= self.highest_seq:
            self.duplicates += 1
            return
        self.hear(seq)
        self.frames += 1
        self.last_seq = self.highest_seq
        if self.frames == 1:
            self.first_seq = self.last_seq


class Prelude:
    """Takes messages until a stream can be started."""

    def __init__(self, dialect: Dialect, budget: ByteBudget, telemetry: Telemetry) -> None:
        self._dialect = dialect
        self._budget = budget
        self._telemetry = telemetry
        self._start: Start | None = None
        self._held: deque[Held] = deque()
        self._held_bytes = 0
        self._has_ended = False
        self._dropped = Dropped()

    @property
    def is_full(self) -> bool:
        """Whether a stream whose start is under way has as much to be published as it may have."""
        if self._start is None:
            return False
        limits = self._budget.limits
        return (
            self._held_bytes >= limits.buffer_seconds * self._start.media.bytes_per_second
            or len(self._held) >= limits.stream_entries
            or self._budget.is_full
        )

    def take(self, message: Message) -> Start | Closing | None:
        """Take a message; return the start as far as it is told by now, or how to close."""
        answer: Start | Closing | None = None
        match message:
            case Start() if self._start is None:
                self._start = message
                answer = self.start_as_told()
            case Audio() | SignalSaid():
                answer = self._hold(message)
            case End():
                answer = self._end(message)
            case Start() | BadStart() if self._start is not None:
                self._keep(STARTED_ALREADY)
            case Refused() if self._start is not None:
                self._keep(message)
            case BadStart(explanation, names):
                reason = CloseReason.BAD_START
                answer = Closing(CloseCode.BAD_START, reason, explanation, names=names)
            case Refused(_, explanation) if self._dialect.most_held_before_start == 0:
                self._count_refused(CloseReason.BAD_START.value)
                answer = Closing(CloseCode.BAD_START, CloseReason.BAD_START, explanation)
            case Refused(refusal):
                self._refuse(refusal)
            case Unknown():
                self._telemetry.ignored("unknown")
        return answer

    def release(self) -> Held | None:
        """Return what was held, one at a time and in order; None when that was all."""
        if not self._held:
            return None
        held = self._held.popleft()
        self._grow(-_size(held))
        return held

    @property
    def has_ended(self) -> bool:
        """Whether the sender has said that this was all."""
        return self._has_ended

    def drop(self, seq: int | None) -> None:
        """Note a frame that there is no room for."""
        self._dropped.drop(seq)

    def take_dropped(self) -> Dropped:
        """Return what was dropped and is not counted yet; it is for the caller to count."""
        dropped, self._dropped = self._dropped, Dropped()
        return dropped

    def discard(self, *, refused_for: CloseReason | None = None) -> None:
        """Forget what is held, and count all that was said: it is said again, or it is lost.

        Nothing is lost of a sender that is `refused_for` a reason, nor of one that never started:
        all of it is rejected.
        """
        if self._start is None:
            refused_for = refused_for or CloseReason.NO_START
        dropped = self.take_dropped()
        frames, refused = dropped.frames, dropped.refused
        while (held := self.release()) is not None:
            if isinstance(held, Audio):
                frames += 1
            elif isinstance(held, Refused):
                refused[held.refusal] += 1
        if frames and refused_for is None:
            self._telemetry.received(frames)
            self._telemetry.frames("lost", frames, reason="not_started")
        elif frames and refused_for is not None:
            self._count_refused(refused_for.value, frames)
        if dropped.duplicates:
            self._telemetry.received(dropped.duplicates)
            self._telemetry.frames("duplicate", dropped.duplicates)
        for refusal, messages in refused.items():
            self._refuse(refusal, messages)

    def _hold(self, message: Audio | SignalSaid) -> Start | Closing | None:
        if self._start is None and self._dialect.most_held_before_start == 0:
            self._count_refused(CloseReason.BAD_START.value)
            reason = CloseReason.AUDIO_BEFORE_START
            return Closing(CloseCode.BAD_START, reason, "audio before start")
        self._keep(message)
        return self.start_as_told() if isinstance(message, Audio) else None

    def _keep(self, message: Audio | SignalSaid | Refused) -> None:
        size = _size(message)
        if self._start is None and size > MAX_FRAME_BYTES:
            self._refuse(Refusal.FRAME_TOO_LARGE)
        elif self._start is None and (
            len(self._held) >= self._dialect.most_held_before_start
            or self._held_bytes + size > MOST_HELD_BYTES
        ):
            self._refuse(Refusal.UNEXPECTED_EVENT)
        elif self.is_full and isinstance(message, Refused):
            self._dropped.refused[message.refusal] += 1
        elif self.is_full and isinstance(message, SignalSaid):
            self._telemetry.ignored("no_room")
        else:
            self._grow(size)
            self._held.append(message)
            if isinstance(message, Audio):
                self._dropped.hear(message.seq)

    def _grow(self, size: int) -> None:
        self._held_bytes += size
        self._budget.add(size)

    def _end(self, message: End) -> Start | Closing:
        if self._start is None:
            return Closing(CloseCode.ENDED, CloseReason.NOT_STARTED, "ended before it started")
        if not self._has_ended:
            self._has_ended = True
            self._held.append(message)
        told = self.start_as_told()
        if told is None or told.continuation == GoOnAbove():  # it will never be told now
            self._start = replace(self._start, continuation=GoOn())
            return self._start
        return told

    def start_as_told(self) -> Start | None:
        """Return the start; one that goes on above a seq with the first seq there is."""
        if self._start is None or not isinstance(self._start.continuation, GoOnAbove):
            return self._start
        first = next((held for held in self._held if isinstance(held, Audio)), None)
        if first is None:
            return self._start
        goes_on = GoOn() if first.seq is None else GoOnAbove(first.seq)
        return replace(self._start, continuation=goes_on)

    def _refuse(self, refusal: Refusal, messages: int = 1) -> None:
        self._count_refused(refusal.value, messages)

    def _count_refused(self, reason: str, messages: int = 1) -> None:
        self._telemetry.received(messages)
        self._telemetry.frames("rejected", messages, reason=reason)
