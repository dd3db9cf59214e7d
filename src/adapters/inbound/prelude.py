"""What is said before a stream is started.

Some carriers send audio before they say what it is of, and cannot say whether they go on with an
open run; both is told by what they say next. What comes early is held, within a bound, and said
again once the stream is started.
"""

from collections import deque
from dataclasses import replace

from adapters.inbound.close_codes import CloseCode, Closing
from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.messages import (
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
from application.ports.telemetry import Telemetry
from domain.events import GoOn, GoOnAbove

Held = Audio | SignalSaid | End | Start | BadStart | Refused
"""What is said again once the stream is started; a second start is refused then."""


class Prelude:
    """Takes messages until a stream can be started."""

    def __init__(self, dialect: Dialect, telemetry: Telemetry) -> None:
        self._dialect = dialect
        self._telemetry = telemetry
        self._start: Start | None = None
        self._held: deque[Held] = deque()

    @property
    def has_start(self) -> bool:
        """Whether the sender has said `start`, though its stream may not be started yet."""
        return self._start is not None

    def take(self, message: Message) -> Start | Closing | None:
        """Take a message; return the start to be tried now, or how to close."""
        answer: Start | Closing | None = None
        match message:
            case Start() if self._start is None:
                self._start = message
                answer = self._start_as_told()
            case Audio() | SignalSaid():
                answer = self._hold(message)
            case End():
                answer = self._end(message)
            case Start() | BadStart() | Refused() if self._start is not None:
                self._keep(message)
            case BadStart(explanation):
                answer = Closing(CloseCode.BAD_START, explanation)
            case Refused(_, explanation) if self._dialect.most_held_before_start == 0:
                answer = Closing(CloseCode.BAD_START, explanation)
            case Refused(refusal):
                self._refuse(refusal)
            case Unknown():
                self._telemetry.ignored("unknown")
        return answer

    def release(self) -> Held | None:
        """Return what was held, one at a time and in order; None when that was all."""
        return self._held.popleft() if self._held else None

    def _hold(self, message: Audio | SignalSaid) -> Start | Closing | None:
        if self._dialect.most_held_before_start == 0:
            return Closing(CloseCode.BAD_START, "audio before start")
        if self._start is not None and isinstance(message, Audio):
            self._held.append(message)  # it decides, so it is the last that is held
        else:
            self._keep(message)
        return None if self._start is None else self._start_as_told()

    def _keep(self, message: Held) -> None:
        if len(self._held) < self._dialect.most_held_before_start:
            self._held.append(message)
        else:
            self._refuse(Refusal.UNEXPECTED_EVENT)

    def _end(self, message: End) -> Start | Closing:
        if self._start is None:
            return Closing(CloseCode.ENDED, "ended before it started")
        self._held.append(message)
        return replace(self._start, continuation=GoOn())

    def _start_as_told(self) -> Start | None:
        """Complete a start that goes on above a seq with the first seq there is."""
        if self._start is None or not isinstance(self._start.continuation, GoOnAbove):
            return self._start
        first = next((held for held in self._held if isinstance(held, Audio)), None)
        if first is None:
            return self._start
        goes_on = GoOn() if first.seq is None else GoOnAbove(first.seq)
        return replace(self._start, continuation=goes_on)

    def _refuse(self, refusal: Refusal) -> None:
        self._telemetry.frames("received")
        self._telemetry.frames("rejected", reason=refusal.value)
