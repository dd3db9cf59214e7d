"""Helpers for JSON that every dialect needs."""

import re

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""The exceptions of msgspec for a text that is not JSON of the expected type, including too deep
nesting and characters that cannot be encoded."""

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\n\r\v\f"

OBJECT_BEGINS_WITH = frozenset(b"{" + _BOM[:1] + _BLANKS)
"""The first bytes of a JSON object; audio may begin with them, too."""

_wrapping = rb"(?:[ \t\n\r\v\f]|\xef\xbb\xbf)*+"
_before = re.compile(_wrapping)
_opening = re.compile(_wrapping + rb'\{[ \t\n\r]*+"')


class _Envelope(msgspec.Struct):
    event: msgspec.Raw


_envelope_decoder = msgspec.json.Decoder(_Envelope)


def unwrapped(text: bytes) -> bytes:
    """Strip a message of characters that some senders put around its JSON.

    These are a byte order mark before it, blanks around it, and C's terminating NUL.
    """
    before = _before.match(text)
    return text[before.end() if before else 0 :].rstrip(_BLANKS + b"\0")


def is_utf8(text: bytes) -> bool:
    """Return whether all of `text` is UTF-8; msgspec does not check the fields that it skips."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(text: str | bytes) -> bool:
    """Return whether `text` is one JSON value of any type."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True


def is_message(data: bytes) -> bool:
    """Return whether binary data is a JSON object with a text `event`, and so not audio."""
    if _opening.match(data) is None:
        return False
    text = unwrapped(data)
    if not (text.endswith(b"}") and is_utf8(text)):
        return False
    try:
        msgspec.json.decode(_envelope_decoder.decode(text).event, type=str)
    except RecursionError:  # so many brackets in a row are no audio
        return True
    except UNREADABLE:
        return False
    return True
