"""What happens to an interaction, as values: each is one entry of its published stream.

Every event has a `position`: its dense place in the stream, 0, 1, 2, … over all generations.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from domain.identifiers import InteractionId, StreamKey
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat


class EndReason(StrEnum):
    """Why a run ended."""

    ENDED = "ended"
    """The sender said so (exostreamkit)."""
    CALLENDED = "callended"
    """The caller or callee hung up."""
    STOPPED = "stopped"
    """The carrier stopped streaming; the call may go on."""
    DISCONNECTED = "disconnected"
    """The sender was lost, or began anew, without an end."""
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
    """What the carrier tells of the call; all of it may be absent."""

    call_sid: str | None = None
    caller: str | None = None
    callee: str | None = None
    custom_parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Anew:
    """Begin a new run."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Go on with the open run, if there is one."""


@dataclass(frozen=True, slots=True)
class GoOnAbove:
    """Go on with the open run if `first_seq`, the sender's next, is above its last.

    For senders that cannot say that they resume: a lower seq is of a numbering begun anew, and
    would be mistaken for a duplicate. None while the sender has not said a seq yet.
    """

    first_seq: int | None = None


Continuation = Anew | GoOn | GoOnAbove

ANEW = Anew()


def goes_on(continuation: Continuation, last_seq: int | None) -> bool | None:
    """Tell whether an open run with this `last_seq` goes on; None if it cannot be told yet."""
    match continuation:
        case Anew():
            return False
        case GoOn():
            return True
        case GoOnAbove(first_seq):
            if first_seq is None:
                return None
            return last_seq is None or first_seq > last_seq


@dataclass(frozen=True, slots=True)
class Opening:
    """A sender's wish to start a stream.

    `dialect` names the wire format it speaks, `started_at_ms` is the wall clock of the wish in
    milliseconds since 1970.
    """

    stream: StreamKey
    interaction_id: InteractionId
    dialect: str
    media: MediaFormat
    started_at_ms: int
    continuation: Continuation = ANEW
    call: CallDetails = field(default_factory=CallDetails)


@dataclass(frozen=True, slots=True)
class InteractionStarted:
    """A generation began; `resumed` when it goes on with the run of an older one.

    `run` is the name of the run, the same in all its generations.
    """

    position: int
    generation: int
    resumed: bool
    opening: Opening
    run: str = field(default="", compare=False)


@dataclass(slots=True)
class AudioAccepted:
    """A frame took its place in the stream. Not to be changed, like the frame."""

    position: int
    frame: AudioFrame


@dataclass(frozen=True, slots=True)
class GapDetected:
    """`missing` seqs from `first_missing` on are absent; stands before the revealing frame."""

    position: int
    first_missing: int
    missing: int


class Signal(StrEnum):
    """What a carrier tells beside the audio."""

    DTMF = "dtmf"
    """A key was pressed."""
    MARK = "mark"
    """Playback has reached a mark."""


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """A signal at its place among the frames; `details` is the carrier's JSON object of it."""

    position: int
    signal: Signal
    details: str


@dataclass(frozen=True, slots=True)
class InteractionEnded:
    """The run is over; `recovered` when written on behalf of a process that died."""

    position: int
    reason: EndReason
    ledger: Ledger
    recovered: bool = False


Event = InteractionStarted | AudioAccepted | GapDetected | SignalReceived | InteractionEnded
