"""Messages of one connection, decoded and checked."""

import json
from collections.abc import Mapping, Sequence

from adapters.inbound.dialects import Decoder, Dialect, Remark
from adapters.inbound.handshake import Handshake
from application.call.messages import (
    Asked,
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from domain.events import EndReason, Signal
from domain.sequence import MAX_SEQ

KINDS = (Start, BadStart, Audio, SignalMessage, End, Asked, Known, Unknown, Refused)


def decoder_of(dialect: Dialect, query: Mapping[str, str] | None = None) -> Decoder:
    """Return the decoder of a new connection."""
    return dialect.decoder(Handshake(query=query or {}), _take_remark)


def _take_remark(remark: str) -> None:
    """Check a remark of a decoder: a text for the log."""
    assert remark


def decode_on(
    dialect: Dialect,
    messages: Sequence[str | bytes],
    query: Mapping[str, str] | None = None,
    remark: Remark = _take_remark,
) -> list[Message]:
    """Decode the messages of one connection; `remark` is told what is odd about it."""
    reader = dialect.decoder(Handshake(query=query or {}), remark)
    return [
        reader.decode_text(it.encode()) if isinstance(it, str) else reader.decode_binary(it)
        for it in messages
    ]


def check_message(message: Message) -> None:
    """Check the values of a message beyond their types."""
    assert isinstance(message, KINDS)
    match message:
        case Audio(seq, audio):
            assert seq is None or 0 <= seq <= MAX_SEQ
            assert isinstance(audio, bytes)
        case SignalMessage(signal, details):
            assert isinstance(signal, Signal)
            assert isinstance(json.loads(details), dict)
            details.encode()
        case Asked(answer):
            assert isinstance(json.loads(answer), dict)
        case End(reason):
            assert isinstance(reason, EndReason)
        case BadStart(explanation):
            assert explanation
        case Refused(refusal, explanation):
            assert isinstance(refusal, Refusal)
            assert explanation
        case Start(call=call):
            assert all(
                isinstance(text, str)
                for pair in call.custom_parameters.items()
                for text in (*pair, call.caller or "", call.callee or "", call.call_sid or "")
            )
