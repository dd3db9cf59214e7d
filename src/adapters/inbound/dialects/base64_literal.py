"""A short cut for JSON messages that are one long base64 text and little else.

A JSON decoder looks at every character of a text for escapes; a base64 decoder needs no more than
a pass of vector instructions. So the long text is cut out, what is left is decoded as JSON, where
the text now has to be empty, and the text is decoded by itself. Whatever is unusual (escapes, a
second field of that name, other white space) is not cut: the short cut never means anything else.
"""

from binascii import Error

import pybase64

SHORTEST_BYTES = 1_024
"""Below it the cutting costs as much as it saves."""


_BEFORE_TEXT = (b':"', b': "')


def cut(text: bytes, field: bytes) -> tuple[bytes, memoryview] | None:
    """Return the message without the text of `field`, a name in quotation marks, and the text.

    None where it is not safe to cut.
    """
    at = text.find(field)
    if at < 0:
        return None
    start = text.find(b'"', at + len(field)) + 1
    if text[at + len(field) : start] not in _BEFORE_TEXT:
        return None
    end = text.find(b'"', start)
    skeleton = text[:start] + text[end:]
    if end < 0 or b"\\" in skeleton or skeleton.count(field) != 1:
        return None
    return skeleton, memoryview(text)[start:end]


def decode(literal: memoryview) -> bytes | None:
    """Decode standard base64, padded; None if it is anything else."""
    try:
        return pybase64.b64decode(literal, validate=True)
    except (Error, ValueError):
        return None
