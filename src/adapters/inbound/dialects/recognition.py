"""Recognises the dialect of a connection by its first message."""

from collections.abc import Iterable, Mapping

import msgspec

from adapters.inbound.dialects.dialect import Dialect
from adapters.inbound.dialects.json_text import UNREADABLE, is_json, unwrapped
from adapters.inbound.handshake import Handshake

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FirstMessageNotJson(Exception):
    """The first text message is not JSON."""


class UnknownDialect(Exception):
    """The first message belongs to no dialect."""


def recognise(first: str | bytes, handshake: Handshake, dialects: Iterable[Dialect]) -> Dialect:
    """Return the dialect of a connection by its first message, text or binary.

    Raises:
        FirstMessageNotJson: a text that is not JSON.
        UnknownDialect: anything else that no dialect recognises.

    """
    message = _read_object(first)
    for dialect in dialects:
        if dialect.recognises(message, handshake):
            return dialect
    raise UnknownDialect(f"the first message belongs to no dialect: {_lacking(message)}")


def _lacking(message: Mapping[str, object]) -> str:
    """Return the field because of which no dialect recognises a message."""
    event = message.get("event")
    if not isinstance(event, str):
        return "'event' is absent or no text"
    if event == "start":
        return "the start names neither tenant, interaction nor call, or those of two dialects"
    return "its 'event' is known to none"


def _read_object(first: str | bytes) -> dict[str, object]:
    text = unwrapped(first.encode() if isinstance(first, str) else first)
    try:
        fields = _decoder.decode(text)
    except UNREADABLE as error:
        if isinstance(first, str) and not is_json(text):
            raise FirstMessageNotJson("the first message is not JSON") from error
        raise UnknownDialect("the first message is not a JSON object") from error
    return {name: _read_value(value) for name, value in fields.items()}


def _read_value(value: msgspec.Raw) -> object:
    """Read a value; None if it is out of range, which only the dialect has to check."""
    try:
        return msgspec.json.decode(value)
    except UNREADABLE:
        return None
