"""Values from a call's messages: how a run opens, its signals, and why it ends.

The entries of a stream that carry them are in `entries.py`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from domain.identifiers import InteractionId, StreamKey
from domain.media import MediaFormat
from domain.trace_parent import TraceParent


class EndReason(StrEnum):
    """Why a run ended."""

    ENDED = "ended"
    """The sender sent its end (exostreamkit)."""
    CALLENDED = "callended"
    """The caller or callee hung up."""
    STOPPED = "stopped"
    """The carrier stopped streaming; the call may continue."""
    DISCONNECTED = "disconnected"
    """The sender was lost, or started a new run, without an end."""
    IDLE = "idle"
    """The sender was silent for too long."""
    TOO_LONG = "too_long"
    """The call exceeded its longest duration."""
    SHUTDOWN = "shutdown"
    """The service stopped before the call did."""
    BROKER_LOST = "broker_lost"
    """Nothing could be confirmed any more."""


@dataclass(frozen=True, slots=True)
class CallDetails:
    """The carrier's description of the call; any field may be absent."""

    call_sid: str | None = None
    caller: str | None = None
    callee: str | None = None
    custom_parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewRun:
    """Begin a new run."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Resume the open run, if there is one."""


@dataclass(frozen=True, slots=True)
class ResumeAbove:
    """Resume the open run if `first_seq`, the sender's next, is above the run's last.

    For senders that cannot ask to resume. A lower seq belongs to a new numbering and would be
    mistaken for a duplicate. None before the sender's first numbered frame.
    """

    first_seq: int | None = None


Continuation = NewRun | Resume | ResumeAbove

NEW_RUN = NewRun()


def resumes_run(continuation: Continuation, last_seq: int | None) -> bool | None:
    """Return whether an open run with this `last_seq` is resumed; None if that is not known yet."""
    match continuation:
        case NewRun():
            return False
        case Resume():
            return True
        case ResumeAbove(first_seq):
            if first_seq is None:
                return None
            return last_seq is None or first_seq > last_seq


@dataclass(frozen=True, slots=True)
class Opening:
    """What a sender states when it requests a start.

    `dialect` names the wire format that it speaks. `started_at_ms` is the wall clock of the request
    in milliseconds since 1970. `track` names the party whose audio it is, None where the carrier
    does not. `traceparent` is where consumers continue the trace of the call, None without one.
    """

    stream: StreamKey
    interaction_id: InteractionId
    dialect: str
    media: MediaFormat
    started_at_ms: int
    continuation: Continuation = NEW_RUN
    call: CallDetails = field(default_factory=CallDetails)
    track: str | None = None
    traceparent: TraceParent | None = None


class Signal(StrEnum):
    """What a carrier sends beside the audio."""

    DTMF = "dtmf"
    """A key was pressed."""
    MARK = "mark"
    """Playback has reached a mark."""
