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


class Cutter:
    """Cuts out the text of one field, whose name is one."""

    def __init__(self, name: bytes) -> None:
        self._name = b'"%b"' % name
        self._before, self._before_spaced = b'"%b":"' % name, b'"%b": "' % name

    def cut(self, text: bytes) -> tuple[bytes, memoryview] | None:
        """Return the message without the text of the field, and the text.

        None where it is not safe to cut.
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
