"""The fields of a carrier's JSON object with loose types: a number may be a text.

A field that is absent, cannot be read or has an unexpected type is None, never an error.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.inbound.dialects.json_text import UNREADABLE
from domain.sequence import MAX_SEQ

Fields = Mapping[str, msgspec.Raw]

fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Reads the fields of an object, and leaves their values as they came."""

_NUMBER = re.compile(r"\s*[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?\s*\Z", re.IGNORECASE | re.ASCII)


def value_of(fields: Fields, *names: str) -> Any:  # noqa: ANN401  # JSON
    """Return the first field present; None if there is none or it cannot be read."""
    for name in names:
        if name in fields:
            try:
                return msgspec.json.decode(fields[name])
            except UNREADABLE:
                return None
    return None


def text_of(fields: Fields, *names: str) -> str | None:
    """Return the first text; a number is converted to text, other types count as absent."""
    for name in names:
        value = value_of(fields, name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def object_of(fields: Fields, *names: str) -> Fields:
    """Return the fields of an object, none if there is no such object."""
    for name in names:
        if name in fields:
            try:
                found: Fields = fields_decoder.decode(fields[name])
            except UNREADABLE:
                return {}
            return found
    return {}


def texts_of(fields: Fields) -> dict[str, str]:
    """Return custom parameters; a value that is no text is kept as its JSON."""
    texts = {}
    for name, raw in fields.items():
        value = value_of(fields, name)
        texts[name] = value if isinstance(value, str) else bytes(raw).decode(errors="replace")
    return texts


def whole_number(value: object) -> int | None:
    """Read 1, "1", 1.0, " 1", "1e0"; None if it is not a valid counter."""
    if isinstance(value, str) and _NUMBER.match(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MAX_SEQ and value == int(value) else None
