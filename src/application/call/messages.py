"""The messages of a sender, whatever its dialect."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.errors import FrameTooLarge, InvalidAudio, InvalidIdentifier, InvalidSequenceNumber
from domain.events import NEW_RUN, CallDetails, Continuation, EndReason, Signal
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.media import MediaFormat


class Refusal(StrEnum):
    """Why a message cannot be used: the reason of a metric, and the `code` of an error reply."""

    MALFORMED_JSON = "malformed_json"
    INVALID_MESSAGE = "invalid_message"
    INVALID_AUDIO = "invalid_audio"
    INVALID_SEQ = "invalid_seq"
    UNEXPECTED_EVENT = "unexpected_event"
    FRAME_TOO_LARGE = "frame_too_large"
    UNSUPPORTED_TRACK = "unsupported_track"
    """Audio of a track that cannot be a separate stream; never used in a reply."""


def refusal_of(error: InvalidAudio | InvalidSequenceNumber) -> Refusal:
    """Return the refusal for an error of the domain."""
    if isinstance(error, InvalidSequenceNumber):
        return Refusal.INVALID_SEQ
    is_too_large = isinstance(error, FrameTooLarge)
    return Refusal.FRAME_TOO_LARGE if is_too_large else Refusal.INVALID_AUDIO


class Oddity(StrEnum):
    """An oddity of an accepted start: the label of a metric."""

    RATE_ASSUMED = "rate_assumed"
    """No sample rate is usable: the dialect's default is assumed."""
    RATE_FROM_ELSEWHERE = "rate_from_elsewhere"
    """The sample rate of the start is not usable: that of its label or of the query is used."""
    RATE_CONTRADICTED = "rate_contradicted"
    """The sample rate of the query differs from that of the start, or is not usable."""


@dataclass(frozen=True, slots=True)
class OddStart:
    """An oddity of a start; `numbers` are the received values, None if they are not numbers."""

    oddity: Oddity
    explanation: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a stream; `odd` are its tolerated oddities, which are reported to the operator.

    `refuses_early`: the messages that came before it are of another stream, and are refused.
    """

    tenant_id: TenantId
    interaction_id: InteractionId
    stream_id: StreamId
    media: MediaFormat
    continuation: Continuation = NEW_RUN
    call: CallDetails = field(default_factory=CallDetails)
    odd: tuple[OddStart, ...] = field(default=(), compare=False)
    refuses_early: bool = field(default=False, compare=False)

    def of_track(self, stream_id: StreamId) -> "Start":
        """Return the start of another track of the call, whose stream has this name."""
        return replace(self, stream_id=stream_id, odd=())

    @property
    def names(self) -> Mapping[str, str]:
        """The names of the call, as fields of a log line."""
        return {
            "tenant_id": self.tenant_id,
            "interaction_id": self.interaction_id,
            "stream_id": self.stream_id,
        }


@dataclass(frozen=True, slots=True)
class BadStart:
    """A start that cannot be used: the cause, and its valid names for the log."""

    explanation: str
    names: Mapping[str, str] = field(default_factory=dict)


def valid_names(tenant_id: object, interaction_id: object, stream_id: object) -> dict[str, str]:
    """Return the valid identifiers, as fields of a log line."""
    claimed: tuple[tuple[type[TenantId | InteractionId | StreamId], object], ...] = (
        (TenantId, tenant_id),
        (InteractionId, interaction_id),
        (StreamId, stream_id),
    )
    names = {}
    for kind, value in claimed:
        if isinstance(value, str):
            with suppress(InvalidIdentifier):
                names[kind.label] = str(kind(value))
    return names


@dataclass(slots=True)
class Audio:
    """A frame; `seq` None when the sender does not number it, then it takes the next number.

    `track` is None for the main stream; any other track is a separate stream. The class is not
    frozen: there are 50 frames a second for each call, and a frozen object takes longer to make.
    """

    seq: int | None
    audio: bytes
    track: str | None = None


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """A signal beside the audio; `details` is its JSON object, unchanged."""

    signal: Signal
    details: str


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the carrier; `answer` is sent at once, whatever the state of the broker."""

    answer: str


@dataclass(frozen=True, slots=True)
class Known:
    """An event that the dialect defines, and that the service does not need; nothing is counted."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event that the dialect does not define; it is ignored."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be used; `seq` if it could be read."""

    refusal: Refusal
    explanation: str
    seq: int | None = None


STARTED_ALREADY = Refused(Refusal.UNEXPECTED_EVENT, "the stream is started already")

Message = Start | BadStart | Audio | SignalMessage | End | Asked | Known | Unknown | Refused
