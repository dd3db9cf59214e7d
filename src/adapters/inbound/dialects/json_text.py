"""What every dialect needs to know of JSON before it means anything."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What msgspec raises for a text that is not JSON, or not JSON of the shape asked for: nesting can
be too deep for it, and text can hold what no encoding has."""


def is_json(text: str | bytes) -> bool:
    """Tell whether `text` is one JSON value, of whatever shape."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True
