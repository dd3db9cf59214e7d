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
    """Audio of a track that cannot be a stream of its own; no code of a reply."""


def refusal_of(error: InvalidAudio | InvalidSequenceNumber) -> Refusal:
    """Name what the domain has refused."""
    if isinstance(error, InvalidSequenceNumber):
        return Refusal.INVALID_SEQ
    is_too_large = isinstance(error, FrameTooLarge)
    return Refusal.FRAME_TOO_LARGE if is_too_large else Refusal.INVALID_AUDIO


class Oddity(StrEnum):
    """What is odd about a start that is taken all the same: the label of a metric."""

    RATE_ASSUMED = "rate_assumed"
    """No sample rate is usable: the dialect's usual one is assumed."""
    RATE_FROM_ELSEWHERE = "rate_from_elsewhere"
    """The sample rate of the start is not usable: that of its label or of the query counts."""
    RATE_CONTRADICTED = "rate_contradicted"
    """The query asks for another sample rate than the start has, or for one that is not usable."""


@dataclass(frozen=True, slots=True)
class OddStart:
    """What is odd about a start; `numbers` are received values, None where they are no numbers."""

    oddity: Oddity
    explanation: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a stream; `odd` is what the dialect tolerates in it, to be told to the operator.

    It `refuses_early` messages if those that came before are of another stream.
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
        """Whose start it is, as a log line has it."""
        return {
            "tenant_id": self.tenant_id,
            "interaction_id": self.interaction_id,
            "stream_id": self.stream_id,
        }


@dataclass(frozen=True, slots=True)
class BadStart:
    """A start that cannot be used: why, and those of its names that are valid, for the log."""

    explanation: str
    names: Mapping[str, str] = field(default_factory=dict)


def valid_names(tenant_id: object, interaction_id: object, stream_id: object) -> dict[str, str]:
    """Return the names that are valid identifiers, as a log line has them."""
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

    `track` is None for the stream itself; any other track is a stream of its own. It is not frozen
    because there are 50 a second and call, and a frozen one takes longer to make.
    """

    seq: int | None
    audio: bytes
    track: str | None = None


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """Something beside the audio; `details` is its JSON object as it came."""

    signal: Signal
    details: str


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the carrier's: its answer is owed at once, whatever the broker does."""

    answer: str


@dataclass(frozen=True, slots=True)
class Known:
    """An event of the dialect's that calls for nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event that is none of the dialect's; it is ignored."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be used; `seq` if it could be read."""

    refusal: Refusal
    explanation: str
    seq: int | None = None


STARTED_ALREADY = Refused(Refusal.UNEXPECTED_EVENT, "the stream is started already")

Message = Start | BadStart | Audio | SignalMessage | End | Asked | Known | Unknown | Refused
