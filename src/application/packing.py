"""Plain data as bytes.

A value is one line of JSON in ASCII, and behind it the audio as it is. Of several values that are
kept as one, each has its length in front.
"""

import json
from collections.abc import Iterable, Iterator

from application.codec_values import Plain
from application.ports.errors import Unreadable

_LENGTH = 4
"""How many bytes the length in front of a value takes."""


def pack(plain: Plain) -> bytes:
    """Return plain data as bytes."""
    audio: bytes = plain.get("audio", b"")
    told = {name: value for name, value in plain.items() if name != "audio"}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n" + audio


def unpack(packed: bytes) -> Plain:
    """Return the plain data of bytes.

    Raises:
        Unreadable: `pack` has not made them.

    """
    line, newline, audio = packed.partition(b"\n")
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable("stored data is not JSON") from error
    if not newline or not isinstance(plain, dict):
        raise Unreadable("stored data is cut off, or no JSON object")
    return {**plain, "audio": audio} if plain.get("type") == "audio" else plain


def pack_all(plains: Iterable[Plain]) -> bytes:
    """Return several values as bytes; what is packed can be joined."""
    packed = map(pack, plains)
    return b"".join(part for it in packed for part in (len(it).to_bytes(_LENGTH), it))


def unpack_all(packed: bytes, size: int | None = None) -> Iterator[Plain]:
    """Yield the plain data of the first `size` bytes, in which values stand one after the other.

    Raises:
        Unreadable: `pack_all` has not made them, or there are fewer.

    """
    end = len(packed) if size is None else size
    start = 0
    while start < end:
        body = start + _LENGTH
        start = body + int.from_bytes(packed[start:body])
        if start > min(end, len(packed)):
            raise Unreadable("stored data is cut off")
        yield unpack(packed[body:start])
