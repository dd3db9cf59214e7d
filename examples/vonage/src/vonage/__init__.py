"""The dialect `vonage`: a WebSocket endpoint of the Vonage Voice API.

The first message is JSON, and has what the call's NCCO puts into `headers` beside the rate; every
binary message is a frame of little-endian PCM16. The caller hangs up by closing the connection.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from adapters.inbound.dialects import Decoder, Dialect, Handshake, Remark
from application.call.closing import CloseCode
from application.call.messages import (
    Audio,
    BadStart,
    Known,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
    valid_names,
)
from domain.errors import DomainError, InvalidMedia
from domain.events import CallDetails, Signal
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.media import Encoding, MediaFormat

_CONTENT_TYPE = re.compile(r"audio/l16;\s*rate=([0-9]{4,5})\Z")
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class Connected(msgspec.Struct, rename={"content_type": "content-type"}):
    """A call starts. `tenant_id` and `call_id` are headers that the NCCO has to set."""

    event: Literal["websocket:connected"]
    content_type: str
    tenant_id: str
    call_id: str
    caller: str | None = None


class Dtmf(msgspec.Struct):
    """The caller pressed a key."""

    event: Literal["websocket:dtmf"]
    digit: str
    duration: int | None = None


class Cleared(msgspec.Struct):
    """The audio that was to be played is thrown away."""

    event: Literal["websocket:cleared"]


class Notified(msgspec.Struct):
    """Audio that was to be played is over."""

    event: Literal["websocket:notify"]
    payload: dict[str, Any] = {}


Frame = Annotated[
    bytes, msgspec.Meta(title="audio", description="Little-endian PCM16, mono, of 20 ms.")
]


class _Any(msgspec.Struct):
    event: str


class Vonage(Dialect, Decoder):
    """Calls of the Vonage Voice API. Nothing is answered: a message would be played to the caller.

    Nothing is remembered of a connection, so the dialect is its own decoder.
    """

    name = "vonage"
    max_early_messages = 0
    max_refused_in_a_row = None
    never_closed_with = frozenset({CloseCode.NOT_CONFIRMED})
    comes_back = False
    messages = (Connected, Dtmf, Cleared, Notified, Frame)

    def recognises(self, first: Mapping[str, object], handshake: Handshake) -> bool:
        event = first.get("event")
        return isinstance(event, str) and event.startswith("websocket:")

    def decoder(self, handshake: Handshake, remark: Remark) -> Decoder:
        return self

    def decode_text(self, text: bytes) -> Message:
        try:
            event = msgspec.json.decode(text, type=_Any).event
        except _UNREADABLE:
            return Refused(Refusal.INVALID_MESSAGE, "a message is a JSON object with an event")
        match event:
            case "websocket:connected":
                return _read_start(text)
            case "websocket:dtmf":
                return _read_dtmf(text)
            case "websocket:cleared" | "websocket:notify":
                return Known()
        return Unknown()

    def decode_binary(self, data: bytes) -> Message:
        return Audio(None, data)


def _read_start(text: bytes) -> Message:
    try:
        found = msgspec.json.decode(text, type=Connected)
    except _UNREADABLE:
        return BadStart("content-type, tenant_id or call_id is absent or no text")
    try:
        rate = _CONTENT_TYPE.match(found.content_type)
        if rate is None:
            raise InvalidMedia("content-type must be audio/l16;rate=RATE")
        return Start(
            tenant_id=TenantId(found.tenant_id),
            interaction_id=InteractionId(found.call_id),
            stream_id=StreamId(found.call_id),
            media=MediaFormat(int(rate[1]), Encoding.PCM16),
            call=CallDetails(found.call_id, found.caller),
        )
    except DomainError as error:
        return BadStart(str(error), valid_names(found.tenant_id, found.call_id, found.call_id))


def _read_dtmf(text: bytes) -> Message:
    try:
        found = msgspec.json.decode(text, type=Dtmf)
    except _UNREADABLE:
        return Refused(Refusal.INVALID_MESSAGE, "digit is absent or no text")
    details = {"digit": found.digit, "duration": found.duration}
    return SignalMessage(Signal.DTMF, msgspec.json.encode(details).decode())
