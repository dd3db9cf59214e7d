"""Messages of agentstream, made one by one, and what the decoder makes of them."""

import json
from collections.abc import Mapping
from typing import Any

from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.dialect import Decoder
from adapters.inbound.handshake import Handshake
from application.call.messages import Message, Refusal, Refused

DIALECT = Agentstream()
FORMAT = {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}


def decoder(remarks: list[str] | None = None) -> Decoder:
    return DIALECT.decoder(Handshake(), ([] if remarks is None else remarks).append)


def decode(message: Mapping[str, Any] | str, remarks: list[str] | None = None) -> Message:
    return decoder(remarks).decode_text(
        (message if isinstance(message, str) else json.dumps(message)).encode()
    )


def refusal(message: Mapping[str, Any] | str) -> Refusal | None:
    decoded = decode(message)
    return decoded.refusal if isinstance(decoded, Refused) else None


LONG = "AAAA" * 500
"""A payload that is cut out of its message."""


def start(**changes: Any) -> dict[str, Any]:
    """Return a start with `changes` inside; a change to `...` takes the field away."""
    inner = {"stream_sid": "s", "call_sid": "c", "account_sid": "a", "media_format": FORMAT}
    inner = {name: value for name, value in {**inner, **changes}.items() if value is not ...}
    return {"event": "start", "start": inner}


def media(chunk: Any, payload: Any = "AAA=") -> dict[str, Any]:
    return {"event": "media", "media": {"chunk": chunk, "payload": payload}}
