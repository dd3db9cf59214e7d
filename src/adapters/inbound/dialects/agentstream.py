"""The dialect `agentstream`: what Exotel's Stream and Voicebot applets send.

A dialect is one file, whatever its length: its messages, their decoder and its replies.

The carrier's documentation contradicts itself and the real traffic. So numbers may be strings, keys
may be in snake or camel case, `start` and `dtmf` may be nested or flat, most fields may be absent,
and JSON may come in binary messages. Loss is judged by `media.chunk`; a frame without a usable one
takes the next number. `sequence_number` counts every event and is ignored. `media.track` is
`inbound` or absent for the main stream; any other track is a separate stream. A sender of this
dialect gets no messages, and is not closed for bad frames.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from adapters.inbound.dialects.audio_labels import (
    encoding_of,
    number_of,
    parameter_of,
    rate_of,
)
from adapters.inbound.dialects.base64_literal import SHORTEST_BYTES, Cutter, decode
from adapters.inbound.dialects.dialect import Decoder, Dialect, Remark
from adapters.inbound.dialects.json_fields import (
    Fields,
    fields_decoder,
    object_of,
    text_of,
    texts_of,
    value_of,
    whole_number,
)
from adapters.inbound.dialects.json_text import UNREADABLE, is_json, is_utf8, unwrapped
from adapters.inbound.handshake import Handshake
from application.call.closing import CloseCode
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Oddity,
    OddStart,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
    valid_names,
)
from domain.errors import DomainError, InvalidIdentifier, InvalidMedia
from domain.events import CallDetails, EndReason, ResumeAbove, Signal
from domain.identifiers import PATTERN, InteractionId, StreamId, TenantId
from domain.media import MediaFormat
from domain.sequence import MAX_SEQ

DEFAULT_SAMPLE_RATE_HZ = 8_000
"""The rate of the applets if none is named."""

_STARTS_A_CALL = frozenset({"connected", "media", "dtmf", "mark", "stop", "clear", "closed"})
_CALL_KEYS = frozenset(
    {"start", "stream_sid", "streamSid", "call_sid", "callSid", "account_sid", "accountSid"}
)
_OTHER_DIALECTS_KEYS = frozenset({"interaction_id", "tenant_id"})

_INBOUND = "inbound"
_OWN_TRACK = (_INBOUND, "")
"""The track of the main stream; any other track is a separate stream."""

_DIGITS = re.compile(r"[0-9]{1,16}\Z")
MAX_SIGNAL_BYTES = 4_096
MAX_SIGNAL_BRACKETS = 64
"""Opening brackets of a signal's JSON bound how deep it is nested: a consumer's reader may fail at
some hundred levels."""


_Identifier = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{PATTERN}$"})]


class ConnectedMessage(msgspec.Struct):
    """Comes first, before the call is known."""

    event: Literal["connected"]


class MediaFormatOfStart(msgspec.Struct):
    """How the audio is encoded; little-endian PCM16 at 8000 Hz where nothing is named."""

    encoding: str = ""
    sample_rate: int | str | None = None
    channels: int | str | None = None


class CallOfStart(msgspec.Struct):
    """Whose call it is: `account_sid` is the tenant, `call_sid` the interaction."""

    call_sid: _Identifier
    account_sid: _Identifier
    stream_sid: _Identifier | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    custom_parameters: dict[str, Any] = {}
    media_format: MediaFormatOfStart | None = None


class StartMessage(msgspec.Struct):
    """Starts a call. The inner object may also stand flat beside `event`."""

    event: Literal["start"]
    start: CallOfStart
    stream_sid: _Identifier | None = None


class Media(msgspec.Struct):
    """A frame in base64. `chunk` counts the frames, and a hole in it is loss."""

    payload: bytes
    chunk: int | float | str | None = None
    track: str = _INBOUND


class MediaMessage(msgspec.Struct):
    """Audio of the stream, or of another track, which becomes a stream of its own."""

    event: Literal["media"]
    media: Media
    stream_sid: str = ""
    streamSid: str = ""  # noqa: N815  # the other spelling


class DtmfMessage(msgspec.Struct):
    """A key was pressed."""

    event: Literal["dtmf"]
    dtmf: dict[str, Any] = {}


class MarkMessage(msgspec.Struct):
    """A mark in the audio was reached."""

    event: Literal["mark"]
    mark: dict[str, Any] = {}


class ClearMessage(msgspec.Struct):
    """Asks for nothing here."""

    event: Literal["clear"]


class StopOfCall(msgspec.Struct):
    """Why the stream is over: `callended`, or anything else for a stopped stream."""

    reason: str | None = None


class StopMessage(msgspec.Struct):
    """Ends the run, as `closed` does."""

    event: Literal["stop"]
    stop: StopOfCall | None = None


class _MediaSkeleton(msgspec.Struct):
    payload: Literal[""]
    chunk: int | float | str | None = None
    track: str = _INBOUND


class _MediaMessageSkeleton(msgspec.Struct):
    """The same without its long text."""

    event: Literal["media"]
    media: _MediaSkeleton
    stream_sid: str = ""
    streamSid: str = ""  # noqa: N815


_skeleton_decoder = msgspec.json.Decoder(_MediaMessageSkeleton)
_media_decoder = msgspec.json.Decoder(MediaMessage)


class Agentstream(Dialect):
    """The messages of Exotel's Stream and Voicebot applets. None is answered."""

    name = "agentstream"
    comes_back = False
    max_early_messages = 50
    max_refused_in_a_row = None
    never_closed_with = frozenset({CloseCode.POLICY, CloseCode.NOT_CONFIRMED})
    messages = (
        ConnectedMessage,
        StartMessage,
        MediaMessage,
        DtmfMessage,
        MarkMessage,
        ClearMessage,
        StopMessage,
    )

    def recognises(
        self,
        first: Mapping[str, object],
        handshake: Handshake,  # noqa: ARG002  # the message tells
    ) -> bool:
        """Recognise every event of the carrier's, and a `start` by what stands beside it."""
        event = first.get("event")
        if event == "start":
            return bool(_CALL_KEYS & first.keys()) and not _OTHER_DIALECTS_KEYS & first.keys()
        return isinstance(event, str) and event in _STARTS_A_CALL

    def decoder(self, handshake: Handshake, remark: Remark) -> Decoder:
        """Return a decoder that knows the sample rate in the query and the stream's name."""
        return AgentstreamDecoder(handshake.query, remark)


class AgentstreamDecoder(Decoder):
    """Decodes one connection; remembers its stream, so that messages of others are refused."""

    def __init__(self, query: Mapping[str, str], remark: Remark) -> None:
        self._query = query
        self._remark = remark
        self._is_started = False
        self._stream_sid: str | None = None  # before the start the first that is named

    def decode_text(self, text: bytes) -> Message:
        """Decode a JSON message."""
        return self._decode(text)

    def decode_binary(self, data: bytes) -> Message:
        """Decode a binary message as JSON: this dialect has no raw PCM."""
        if not is_utf8(data):
            return Refused(Refusal.MALFORMED_JSON, "the message is not UTF-8")
        return self._decode(data)

    def _decode(self, raw: bytes) -> Message:
        if len(raw) > SHORTEST_BYTES and (audio := self._read_long(raw)) is not None:
            return audio
        try:
            message = _media_decoder.decode(raw)
        except UNREADABLE:
            bare = unwrapped(raw)
            return self._read(raw) if len(bare) == len(raw) else self._decode(bare)
        audio = self._flawless(message, message.media.payload)
        return self._read(raw) if audio is None else audio

    def _read_long(self, text: bytes) -> Message | None:
        """Read audio on the fast path; None if that is not possible."""
        parts = _payload.cut(text)
        if parts is None:
            return None
        skeleton, literal = parts
        try:
            message = _skeleton_decoder.decode(skeleton)
        except UNREADABLE:
            return None
        payload = decode(literal)
        return None if payload is None else self._flawless(message, payload)

    def _flawless(
        self, message: MediaMessage | _MediaMessageSkeleton, payload: bytes
    ) -> Message | None:
        """Return the audio of a well-formed message; None if `_read` has to examine it."""
        media = message.media
        stream_sid = message.stream_sid or message.streamSid
        own = self._stream_sid
        if stream_sid != own and stream_sid and (own is not None or not self._is_started):
            return None
        return self._audio(media.chunk, payload, media.track)

    def _audio(self, chunk: object, payload: bytes, track: str) -> Audio:
        other = None if track in _OWN_TRACK else track
        if isinstance(chunk, str) and _DIGITS.match(chunk):
            chunk = int(chunk)
        if type(chunk) is int and 0 <= chunk <= MAX_SEQ:
            return Audio(chunk, payload, other)
        seq = whole_number(chunk)
        if seq is None:
            self._remark(
                "media has no usable chunk: frames are counted here, and a lost one does not show"
            )
        return Audio(seq, payload, other)

    def _read(self, raw: bytes) -> Message:
        """Define the meaning of a message; the fast path gives the same result for `media`."""
        try:
            fields = fields_decoder.decode(raw)
        except UNREADABLE:
            if is_json(raw):
                return Refused(Refusal.INVALID_MESSAGE, "a message is a JSON object")
            return Refused(Refusal.MALFORMED_JSON, "the message is not JSON")
        event = value_of(fields, "event")
        if not isinstance(event, str):
            return Refused(Refusal.INVALID_MESSAGE, "a message has a string 'event'")
        return self._read_event(event, fields)

    def _read_event(self, event: str, fields: Fields) -> Message:
        message: Message = Unknown()
        match event:
            case "media" | "dtmf" | "mark" | "stop" | "closed" if self._is_foreign(fields):
                message = Refused(Refusal.UNEXPECTED_EVENT, f"{event} of another stream")
            case "media":
                message = self._read_media(object_of(fields, "media"))
            case "start":
                message = self._read_start(fields)
            case "stop" | "closed":
                message = _read_stop(object_of(fields, "stop") or fields)
            case "dtmf" | "mark":
                message = _read_signal(Signal(event), fields)
            case "connected" | "clear":
                message = Known()
        return message

    def _is_foreign(self, fields: Fields) -> bool:
        """Return whether a message names another stream than the start or the messages before."""
        stream_sid = text_of(fields, "stream_sid", "streamSid")
        if not self._is_started:
            self._stream_sid = self._stream_sid or stream_sid
        return None not in (stream_sid, self._stream_sid) and stream_sid != self._stream_sid

    def _read_media(self, media: Fields) -> Message:
        track = _track(media.get("track"))
        if track is None:
            return Refused(Refusal.UNSUPPORTED_TRACK, "the track of media is no text")
        try:
            payload: bytes = msgspec.json.decode(media.get("payload", msgspec.Raw()), type=bytes)
        except UNREADABLE:
            return Refused(Refusal.INVALID_AUDIO, "payload must be standard base64, padded")
        return self._audio(value_of(media, "chunk"), payload, track)

    def _read_start(self, fields: Fields) -> Message:
        start = object_of(fields, "start") or fields
        both = {**fields, **start}  # a field may stand beside the nested object as well
        call_sid = text_of(both, "call_sid", "callSid", "leg_sid", "legSid")
        stream_sid = text_of(fields, "stream_sid", "streamSid") or text_of(
            start, "stream_sid", "streamSid"
        )
        tenant = text_of(both, "account_sid", "accountSid")
        stream, early = stream_sid or call_sid, self._stream_sid
        try:
            media, odd = self._media_format(object_of(both, "media_format", "mediaFormat"))
            message = Start(
                tenant_id=TenantId(_there("account_sid", tenant)),
                interaction_id=InteractionId(_there("call_sid", call_sid)),
                stream_id=StreamId(_there("stream_sid", stream)),
                media=media,
                continuation=ResumeAbove(),
                call=CallDetails(
                    call_sid,
                    text_of(both, "from"),
                    text_of(both, "to"),
                    texts_of(object_of(both, "custom_parameters", "customParameters")),
                ),
                odd=odd,
                refuses_early=None not in (stream_sid, early) and stream_sid != early,
            )
        except DomainError as error:
            return BadStart(_in_its_words(error), valid_names(tenant, call_sid, stream))
        if not self._is_started:
            self._is_started, self._stream_sid = True, stream_sid
        return message

    def _media_format(self, media: Fields) -> tuple[MediaFormat, tuple[OddStart, ...]]:
        label = text_of(media, "encoding") or ""
        asked = self._query.get("sample-rate") or self._query.get("sample_rate")
        value = value_of(media, "sample_rate", "sampleRate")
        sample_rate, query_rate = rate_of(value), rate_of(asked)
        odd: tuple[Oddity, str] | None = None
        if sample_rate is None:
            sample_rate = rate_of(parameter_of(label, "rate")) or query_rate
            odd = _FROM_ELSEWHERE
            if sample_rate is None:
                sample_rate, odd = DEFAULT_SAMPLE_RATE_HZ, _ASSUMED
        elif asked is not None and query_rate != sample_rate:
            odd = _CONTRADICTED
        for channels in (value_of(media, "channels"), parameter_of(label, "channels")):
            if channels not in (None, "") and whole_number(channels) != 1:
                raise InvalidMedia("media_format.channels must be 1")
        numbers = {"start_sample_rate": number_of(value), "query_sample_rate": number_of(asked)}
        told = () if odd is None else (OddStart(*odd, {"sample_rate": sample_rate, **numbers}),)
        return MediaFormat(sample_rate, encoding_of(label)), told


_ASSUMED = (
    Oddity.RATE_ASSUMED,
    f"no usable sample_rate in start or query: assumed to be {DEFAULT_SAMPLE_RATE_HZ}",
)
_FROM_ELSEWHERE = (
    Oddity.RATE_FROM_ELSEWHERE,
    "no usable sample_rate in start: that of the label or the query counts",
)
_CONTRADICTED = (
    Oddity.RATE_CONTRADICTED,
    "the sample rate of the query is not that of start, which counts",
)


_ITS_WORDS = {
    TenantId.label: "account_sid",
    InteractionId.label: "call_sid",
    StreamId.label: "stream_sid",
}


def _there(field: str, name: str | None) -> str:
    if name is None:
        raise InvalidIdentifier(f"{field} is absent or no text")
    return name


def _in_its_words(error: DomainError) -> str:
    """Explain an error with the field's name in this dialect."""
    explanation = str(error)
    for ours, its in _ITS_WORDS.items():
        explanation = explanation.replace(ours, its)
    return explanation


_payload = Cutter(b"payload")


def _read_stop(stop: Fields) -> End:
    ended = value_of(stop, "reason") == EndReason.CALLENDED.value
    return End(EndReason.CALLENDED if ended else EndReason.STOPPED)


def _track(track: msgspec.Raw | None) -> str | None:
    """Return the track of a frame, "" if it has none; None if it cannot be read."""
    if track is None:
        return ""
    try:
        named = msgspec.json.decode(track)
    except UNREADABLE:
        return None
    if named is None:
        return ""
    return named if isinstance(named, str) else None


def _read_signal(signal: Signal, fields: Fields) -> Message:
    """Return the inner object unchanged, or the fields of a flat message without the envelope."""
    details = bytes(fields.get(signal.value, b""))
    if not details.startswith(b"{"):
        envelope = {"event", "stream_sid", "streamSid", "sequence_number", "sequenceNumber"}
        flat = {name: value for name, value in fields.items() if name not in envelope}
        details = msgspec.json.encode(flat)
    if len(details) > MAX_SIGNAL_BYTES:
        return Refused(Refusal.INVALID_MESSAGE, f"{signal.value} is longer than a signal is")
    if details.count(b"[") + details.count(b"{") > MAX_SIGNAL_BRACKETS:
        return Refused(Refusal.INVALID_MESSAGE, f"{signal.value} has more brackets than a signal")
    return SignalMessage(signal, details.decode(errors="replace"))
