"""In which of a cluster's slots a key is."""

from binascii import crc_hqx

from domain.identifiers import StreamKey

SLOTS = 16_384

Key = str | StreamKey
"""A key, or a stream, of which all keys are in the slot of its name."""


def slot_of(key: Key) -> int:
    """Return the slot of a key: of what is between its first braces, or of all of it."""
    name = str(key)
    start = name.find("{")
    end = name.find("}", start + 1)
    if start >= 0 and end > start + 1:
        name = name[start + 1 : end]
    return crc_hqx(name.encode(), 0) % SLOTS
