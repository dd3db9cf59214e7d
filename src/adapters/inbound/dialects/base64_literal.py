"""A short cut for JSON messages that are one long base64 text and little else.

A JSON decoder looks at every character of a text for escapes; a base64 decoder needs no more than
a pass of vector instructions. So the long text is cut out, what is left is decoded as JSON, where
the text now has to be empty, and the text is decoded by itself. Whatever is unusual (escapes, a
second field of that name, other white space) is not cut: the short cut never means anything else.
"""

from binascii import Error
from typing import NamedTuple

import pybase64

SHORTEST_CHARACTERS = 1_024
"""Below it the cutting costs as much as it saves."""


class Cut(NamedTuple):
    """A message without its long text, and the text."""

    skeleton: str
    literal: str


def cut(text: str, field: str) -> Cut | None:
    """Cut out the text of `field`, a name in quotation marks; None where that is not safe."""
    at = text.find(field)
    if at < 0:
        return None
    start = at + len(field)
    if text.startswith(':"', start):
        start += 2
    elif text.startswith(': "', start):
        start += 3
    else:
        return None
    end = text.find('"', start)
    skeleton = text[:start] + text[end:]
    if end < 0 or "\\" in skeleton or skeleton.count(field) != 1:
        return None
    return Cut(skeleton, text[start:end])


def decode(literal: str) -> bytes | None:
    """Decode standard base64, padded; None if it is anything else."""
    try:
        return pybase64.b64decode(literal, validate=True)
    except (Error, ValueError):
        return None
