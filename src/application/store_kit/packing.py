"""Plain data as bytes.

A value is one line of JSON in ASCII, followed by the raw audio. If several values are kept as one,
each is preceded by its length.
"""

import json
from collections.abc import Iterable, Iterator

from application.ports.errors import Unreadable
from application.store_kit.codec_values import Plain

_LENGTH = 4
"""The size of the length before a value, in bytes."""


def pack(plain: Plain) -> bytes:
    """Return plain data as bytes."""
    audio: bytes = plain.get("audio", b"")
    told = {name: value for name, value in plain.items() if name != "audio"}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n" + audio


def unpack(packed: bytes) -> Plain:
    """Return plain data from bytes.

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
    """Return several values as bytes; packed bytes may be concatenated."""
    packed = map(pack, plains)
    return b"".join(part for it in packed for part in (len(it).to_bytes(_LENGTH), it))


def unpack_all(packed: bytes, size: int | None = None) -> Iterator[Plain]:
    """Yield the values that are packed in the first `size` bytes.

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
