"""What every dialect needs to know of JSON before it means anything."""

import re

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What msgspec raises for a text that is not JSON, or not JSON of the shape asked for: nesting can
be too deep for it, and text can hold what no encoding has."""

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
    """Return a message without what some senders put around its JSON.

    That is a byte order mark before it, blanks around it, and the NUL that ends a text in C.
    """
    before = _before.match(text)
    return text[before.end() if before else 0 :].rstrip(_BLANKS + b"\0")


def is_utf8(text: bytes) -> bool:
    """Tell whether all of `text` is UTF-8; msgspec does not look at what it passes over."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(text: str | bytes) -> bool:
    """Tell whether `text` is one JSON value, of whatever shape."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True


def is_message(data: bytes) -> bool:
    """Tell whether binary data is a JSON object with a text `event`: then it is no audio."""
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
