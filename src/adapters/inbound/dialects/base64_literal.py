"""A fast path for JSON messages that consist mostly of one long base64 text.

A JSON decoder checks every character of a text for escapes; a base64 decoder needs one pass of
vector instructions. So the long text is cut out, the rest is decoded as JSON, in which the text
must now be empty, and the text is decoded separately. Anything unusual (escapes, a second field of
the same name, other white space) is not cut, so the result is always the same.
"""

from binascii import Error

import pybase64

SHORTEST_BYTES = 1_024
"""Below this length cutting costs as much as it saves."""


class Cutter:
    """Cuts out the text of one field."""

    def __init__(self, name: bytes) -> None:
        self._name = b'"%b"' % name
        self._before, self._before_spaced = b'"%b":"' % name, b'"%b": "' % name

    def cut(self, text: bytes) -> tuple[bytes, memoryview] | None:
        """Return the message without the text of the field, and the text.

        None if it is not safe to cut.
        """
        before = self._before
        at = text.find(before)
        if at < 0:
            before = self._before_spaced
            at = text.find(before)
            if at < 0:
                return None
        start = at + len(before)
        end = text.find(b'"', start)
        skeleton = text[:start] + text[end:]
        if end < 0 or b"\\" in skeleton or skeleton.count(self._name) != 1:
            return None
        return skeleton, memoryview(text)[start:end]


def decode(literal: memoryview) -> bytes | None:
    """Decode standard base64, padded; None if it is anything else."""
    try:
        return pybase64.b64decode(literal, validate=True)
    except (Error, ValueError):
        return None
