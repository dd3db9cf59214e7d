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
class Opening:
    """A sender's wish to start a stream, or to go on with its open run (`resume`).

    `dialect` names the wire format it speaks, `started_at_ms` is the wall clock of the wish in
    milliseconds since 1970.
    """

    stream: StreamKey
    interaction_id: InteractionId
    dialect: str
    media: MediaFormat
    started_at_ms: int
    resume: bool = False
    call: CallDetails = field(default_factory=CallDetails)


@dataclass(frozen=True, slots=True)
class InteractionStarted:
    """A generation began; `resumed` when it goes on with the run of an older one."""

    position: int
    generation: int
    resumed: bool
    opening: Opening


@dataclass(frozen=True, slots=True)
class AudioAccepted:
    """A frame took its place in the stream."""

    position: int
    frame: AudioFrame


@dataclass(frozen=True, slots=True)
class GapDetected:
    """`missing` seqs from `first_missing` on are absent; stands before the revealing frame."""

    position: int
    first_missing: int
    missing: int


@dataclass(frozen=True, slots=True)
class InteractionEnded:
    """The run is over; `recovered` when written on behalf of a process that died."""

    position: int
    reason: EndReason
    ledger: Ledger
    recovered: bool = False


Event = InteractionStarted | AudioAccepted | GapDetected | InteractionEnded
