"""What JSON and base64 mean, told by the standard library and not by the code under test."""

import json
import re
from base64 import b64decode
from typing import Any

BLANKS = " \t\n\r\v\f"


class NotJson(ValueError):
    """Python's `json` or RFC 8259 says so."""


def unwrapped(text: str) -> str:
    """Return a message without the byte order mark, the blanks and the NULs around its JSON."""
    return text.lstrip("\ufeff" + BLANKS).rstrip(BLANKS + "\0")


def is_message(data: bytes) -> bool:
    """Tell whether bytes are a JSON object with a text `event`."""
    try:
        message = read_json(unwrapped(data.decode()))
    except (UnicodeDecodeError, NotJson):
        return False
    return isinstance(message, dict) and isinstance(message.get("event"), str)


def read_counter(value: object, largest: int) -> int | None:
    """Read a whole number from 0 on, or a text of one; None for anything else."""
    number = r"\s*[+-]?\d+(\.\d*)?(e[+-]?\d+)?\s*"
    if isinstance(value, str) and re.fullmatch(number, value, re.IGNORECASE | re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= largest and value % 1 == 0 else None


def refuse_constant(name: str) -> None:
    raise NotJson(name)


def last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        check_text(key)
        check_text(value)
    return dict(pairs)


def check_text(value: object) -> None:
    """Refuse text that is no Unicode text: lone surrogates."""
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise NotJson("lone surrogate")
    if isinstance(value, list):
        for item in value:
            check_text(item)


def read_json(text: str) -> object:
    try:
        value = json.loads(
            text,
            object_pairs_hook=last_wins,
            parse_constant=refuse_constant,
            parse_int=lambda digits: int(digits) if len(digits) < 100 else 10**100,
        )
    except (ValueError, RecursionError):
        raise NotJson(text[:80]) from None
    check_text(value)
    return value


def read_base64(value: object) -> bytes | None:
    if not isinstance(value, str) or len(value) % 4:
        return None
    try:
        return b64decode(value, validate=True)
    except ValueError:
        return None
