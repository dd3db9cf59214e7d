"""The dialect `exostreamkit`: `start`, `audio` …, `end` as JSON, or raw PCM after `start`.

    {"event":"start","interaction_id":str,"tenant_id":str,"sample_rate":int,"encoding":"pcm16"}
    {"event":"audio","data":base64 of little-endian PCM16,"seq":int}
    {"event":"end"}

Unknown fields are ignored; of duplicate keys the last wins. `_read` defines what a message means;
`_audio_decoder` is a short cut to the same for the one message that comes fifty times a second,
and `_read_long` one more where that message is long. A binary message that is a JSON object with a
text `event` is that message; every other one is PCM.
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
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.ledger import Ledger
from domain.media import Encoding, MediaFormat
from domain.sequence import MAX_SEQ

_Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


class _AudioMessage(msgspec.Struct):
    """The short cut; msgspec reads `bytes` as strict standard base64."""

    event: Literal["audio"]
    data: bytes
    seq: _Seq


class _AudioSkeleton(msgspec.Struct):
    """The same with its long text cut out."""

    event: Literal["audio"]
    data: Literal[""]
    seq: _Seq


class _AnyMessage(msgspec.Struct):
    """Every field that has a meaning, not yet read."""

    event: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    seq: msgspec.Raw = msgspec.Raw()
    interaction_id: msgspec.Raw = msgspec.Raw()
    tenant_id: msgspec.Raw = msgspec.Raw()
    sample_rate: msgspec.Raw = msgspec.Raw()
    encoding: msgspec.Raw = msgspec.Raw()
    resume: msgspec.Raw = msgspec.Raw(b"false")


_START_FIELDS = {
    "interaction_id": str,
    "tenant_id": str,
    "sample_rate": int,
    "encoding": str,
    "resume": bool,
}

ERROR_CODES = (
    Refusal.MALFORMED_JSON,
    Refusal.INVALID_MESSAGE,
    Refusal.INVALID_AUDIO,
    Refusal.INVALID_SEQ,
    Refusal.UNEXPECTED_EVENT,
    Refusal.FRAME_TOO_LARGE,
)
"""The codes of the reply `error`."""

_audio_decoder = msgspec.json.Decoder(_AudioMessage)
_skeleton_decoder = msgspec.json.Decoder(_AudioSkeleton)
_any_decoder = msgspec.json.Decoder(_AnyMessage)


class Exostreamkit(Dialect, Decoder):
    """Decodes and answers `exostreamkit`; one decoder serves all, since nothing is remembered."""

    name = "exostreamkit"
    comes_back = True
    max_early_messages = 0
    max_refused_in_a_row = 50
    never_closed_with: frozenset[CloseCode] = frozenset()

    def recognises(self, first: Mapping[str, object]) -> bool:
        """Recognise `audio`, `end`, and a `start` with one of its identifiers at the top."""
        event = first.get("event")
        if event == "start":
            return "interaction_id" in first or "tenant_id" in first
        return event in ("audio", "end")

    def decoder(
        self,
        query: Mapping[str, str],  # noqa: ARG002  # says nothing here
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
        return _encode(
            event="started",
            interaction_id=str(interaction_id),
            generation=generation,
            last_seq=last_seq,
        )

    def ack(self, seq: int) -> str | None:
        """Say `ack`."""
        return f'{{"event":"ack","seq":{seq}}}'

    def error(self, refused: Refused) -> str | None:
        """Say `error`."""
        return _encode(
            event="error",
            code=refused.refusal.value,
            message=refused.explanation,
            seq=refused.seq,
        )

    def ended(self, interaction_id: InteractionId, ledger: Ledger) -> str | None:
        """Say `ended`."""
        return _encode(event="ended", interaction_id=str(interaction_id), ledger=ledger.counters())


_data = Cutter(b"data")


def _read_long(text: bytes) -> Audio | None:
    """Read audio by the short cut; None where that does not do."""
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


def _encode(**reply: Any) -> str:  # noqa: ANN401  # JSON values
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
    """Read one field; an absent one is an empty text, and no JSON at all."""
    if not raw:
        raise msgspec.ValidationError("absent")
    return msgspec.json.decode(raw, type=kind)
