"""The dialect `exostreamkit`: `start`, `audio` …, `end` as JSON, or raw PCM after `start`.

A dialect is one file, whatever its length: its messages, their decoder and its replies.

Unknown fields are ignored; of duplicate keys the last wins. `_read` defines the meaning of a
message. `_audio_decoder` is a fast path with the same result for the message that arrives fifty
times a second, and `_read_long` another one for long messages. A binary message that is a JSON
object with a text `event` is treated as JSON; every other one is PCM.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from adapters.inbound.dialects.base64_literal import SHORTEST_BYTES, Cutter, decode
from adapters.inbound.dialects.dialect import Decoder, Dialect, Remark
from adapters.inbound.dialects.json_text import (
    OBJECT_BEGINS_WITH,
    UNREADABLE,
    is_json,
    is_message,
    unwrapped,
)
from adapters.inbound.handshake import Handshake
from application.call.closing import CloseCode
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    Start,
    Unknown,
    valid_names,
)
from domain.errors import DomainError, InvalidMedia
from domain.events import NEW_RUN, EndReason, Resume
from domain.identifiers import PATTERN, InteractionId, StreamId, TenantId
from domain.ledger import NOTHING, Ledger
from domain.media import MAX_FRAME_BYTES, SAMPLE_RATES_HZ, Encoding, MediaFormat
from domain.sequence import MAX_SEQ

_Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
_Identifier = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{PATTERN}$"})]
_Rate = Annotated[int, msgspec.Meta(extra_json_schema={"enum": sorted(SAMPLE_RATES_HZ)})]
_Label = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [Encoding.PCM16.value]})]
"""The domain checks the schema's constraints beyond the type, and explains a refusal."""

ERROR_CODES = (
    Refusal.MALFORMED_JSON,
    Refusal.INVALID_MESSAGE,
    Refusal.INVALID_AUDIO,
    Refusal.INVALID_SEQ,
    Refusal.UNEXPECTED_EVENT,
    Refusal.FRAME_TOO_LARGE,
)
"""The codes of the reply `error`."""

_CODES = msgspec.Meta(extra_json_schema={"enum": [code.value for code in ERROR_CODES]})
_COUNTERS = msgspec.Meta(extra_json_schema={"required": list(NOTHING.counters())})


class StartMessage(msgspec.Struct):
    """Starts a stream; with `resume` it continues the stream's open run."""

    event: Literal["start"]
    interaction_id: _Identifier
    tenant_id: _Identifier
    sample_rate: _Rate
    encoding: _Label
    resume: bool = False


class AudioMessage(msgspec.Struct):
    """A frame: little-endian PCM16, mono, in base64; `seq` grows by 1."""

    event: Literal["audio"]
    data: bytes  # msgspec reads strict standard base64
    seq: _Seq


class EndMessage(msgspec.Struct):
    """Ends the run."""

    event: Literal["end"]


PcmMessage = Annotated[
    bytes,
    msgspec.Meta(
        title="pcm",
        description="A frame after `start`: little-endian PCM16, mono. It takes the next seq.",
        max_length=MAX_FRAME_BYTES,
    ),
]


class StartedReply(msgspec.Struct, tag_field="event", tag="started"):
    """The stream is started; `last_seq` is that of the run that is resumed, null for a new one."""

    interaction_id: str
    generation: int
    last_seq: int | None


class AckReply(msgspec.Struct, tag_field="event", tag="ack"):
    """Every frame up to `seq` is published or was refused."""

    seq: int


class ErrorReply(msgspec.Struct, tag_field="event", tag="error"):
    """A message was refused; `seq` if it could be read. The call continues."""

    code: Annotated[str, _CODES]
    message: str
    seq: int | None


class EndedReply(msgspec.Struct, tag_field="event", tag="ended"):
    """The run is over and published."""

    interaction_id: str
    ledger: Annotated[dict[str, int], _COUNTERS]


class _AudioSkeleton(msgspec.Struct):
    """The same with its long text cut out."""

    event: Literal["audio"]
    data: Literal[""]
    seq: _Seq


class _AnyMessage(msgspec.Struct):
    """All known fields, not yet decoded."""

    event: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    seq: msgspec.Raw = msgspec.Raw()
    interaction_id: msgspec.Raw = msgspec.Raw()
    tenant_id: msgspec.Raw = msgspec.Raw()
    sample_rate: msgspec.Raw = msgspec.Raw()
    encoding: msgspec.Raw = msgspec.Raw()
    resume: msgspec.Raw = msgspec.Raw(b"false")


_START_FIELDS = {
    it.name: it.type for it in msgspec.structs.fields(StartMessage) if it.name != "event"
}

_audio_decoder = msgspec.json.Decoder(AudioMessage)
_skeleton_decoder = msgspec.json.Decoder(_AudioSkeleton)
_any_decoder = msgspec.json.Decoder(_AnyMessage)


class Exostreamkit(Dialect, Decoder):
    """JSON messages `start`, `audio` … `end`, or raw PCM after `start`. Each is answered.

    One decoder serves all connections, since it has no state.
    """

    name = "exostreamkit"
    comes_back = True
    max_early_messages = 0
    max_refused_in_a_row = 50
    never_closed_with: frozenset[CloseCode] = frozenset()
    messages = (StartMessage, AudioMessage, EndMessage, PcmMessage)
    replies = (StartedReply, AckReply, ErrorReply, EndedReply)

    def recognises(
        self,
        first: Mapping[str, object],
        handshake: Handshake,  # noqa: ARG002  # the message tells
    ) -> bool:
        """Recognise `audio`, `end`, and a `start` with one of its identifiers at the top."""
        event = first.get("event")
        if event == "start":
            return "interaction_id" in first or "tenant_id" in first
        return event in ("audio", "end")

    def decoder(
        self,
        handshake: Handshake,  # noqa: ARG002  # says nothing here
        remark: Remark,  # noqa: ARG002  # nothing odd is tolerated
    ) -> Decoder:
        """Return itself."""
        return self

    def decode_text(self, text: bytes) -> Message:
        """Decode a JSON message."""
        if len(text) > SHORTEST_BYTES and (audio := _read_long(text)) is not None:
            return audio
        try:
            message = _audio_decoder.decode(text)
        except UNREADABLE:
            bare = unwrapped(text)
            return _read(text) if len(bare) == len(text) else self.decode_text(bare)
        return Audio(message.seq, message.data)

    def decode_binary(self, data: bytes) -> Message:
        """Take a binary message as raw PCM, unless it is JSON that came as binary."""
        if data and data[0] in OBJECT_BEGINS_WITH and is_message(data):
            return self.decode_text(data)
        return Audio(None, data)

    def started(
        self, interaction_id: InteractionId, generation: int, last_seq: int | None
    ) -> str | None:
        """Say `started`."""
        return _encode(StartedReply(str(interaction_id), generation, last_seq))

    def ack(self, seq: int) -> str | None:
        """Say `ack`."""
        return f'{{"event":"ack","seq":{seq}}}'

    def error(self, refused: Refused) -> str | None:
        """Say `error`."""
        return _encode(ErrorReply(refused.refusal.value, refused.explanation, refused.seq))

    def ended(self, interaction_id: InteractionId, ledger: Ledger) -> str | None:
        """Say `ended`."""
        return _encode(EndedReply(str(interaction_id), ledger.counters()))


_data = Cutter(b"data")


def _read_long(text: bytes) -> Audio | None:
    """Read audio on the fast path; None if that is not possible."""
    parts = _data.cut(text)
    if parts is None:
        return None
    skeleton, literal = parts
    try:
        message = _skeleton_decoder.decode(skeleton)
    except UNREADABLE:
        return None
    audio = decode(literal)
    return None if audio is None else Audio(message.seq, audio)


def _encode(reply: msgspec.Struct) -> str:
    return msgspec.json.encode(reply).decode()


def _read(text: bytes) -> Message:
    try:
        message = _any_decoder.decode(text)
        event = _field(message.event, str)
    except UNREADABLE:
        if is_json(text):
            return Refused(
                Refusal.INVALID_MESSAGE, "a message is a JSON object with a string 'event'"
            )
        return Refused(Refusal.MALFORMED_JSON, "the message is not JSON")
    if event == "audio":
        return _read_audio(message)
    if event == "start":
        return _read_start(message)
    if event == "end":
        return End(EndReason.ENDED)
    return Unknown()


def _read_audio(message: _AnyMessage) -> Message:
    try:
        seq = _field(message.seq, _Seq)
    except UNREADABLE:
        return Refused(Refusal.INVALID_SEQ, f"seq must be an integer from 0 to {MAX_SEQ}")
    try:
        return Audio(seq, _field(message.data, bytes))
    except UNREADABLE:
        return Refused(Refusal.INVALID_AUDIO, "data must be standard base64, padded", seq)


def _read_start(message: _AnyMessage) -> Message:
    fields: dict[str, Any] = {}
    for name, kind in _START_FIELDS.items():
        try:
            fields[name] = _field(getattr(message, name), kind)
        except UNREADABLE:
            return BadStart(f"{name} is absent or not of its type", _names(message))
    try:
        interaction_id = InteractionId(fields["interaction_id"])
        if fields["encoding"] != Encoding.PCM16:
            raise InvalidMedia("encoding must be 'pcm16'")  # one way out
        return Start(
            tenant_id=TenantId(fields["tenant_id"]),
            interaction_id=interaction_id,
            stream_id=StreamId(interaction_id),
            media=MediaFormat(fields["sample_rate"], Encoding.PCM16),
            continuation=Resume() if fields["resume"] else NEW_RUN,
        )
    except DomainError as error:
        return BadStart(str(error), _names(message))


def _names(message: _AnyMessage) -> dict[str, str]:
    """Return the names of a start that are valid."""
    interaction_id = _text(message.interaction_id)
    return valid_names(_text(message.tenant_id), interaction_id, interaction_id)


def _text(raw: msgspec.Raw) -> str | None:
    try:
        text: str = _field(raw, str)
    except UNREADABLE:
        return None
    return text


def _field(raw: msgspec.Raw, kind: Any) -> Any:  # noqa: ANN401  # what msgspec takes as a type
    """Read one field; an absent one is an empty text, which is not JSON."""
    if not raw:
        raise msgspec.ValidationError("absent")
    return msgspec.json.decode(raw, type=kind)
