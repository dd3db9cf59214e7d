"""Which node of a cluster serves which slot, as a node tells it."""

import binascii
from typing import Final

import redis
from valkey_node import ValkeyNode

SLOTS: Final = 16384
Slots = tuple[tuple[int, int, int], ...]
"""First and last slot, and the port of the node that serves them."""


def slot_of(key: str) -> int:
    """Return the slot of a key, or of what is between its first braces."""
    start = key.find("{")
    end = key.find("}", start + 1)
    tagged = key[start + 1 : end] if start >= 0 and end > start + 1 else key
    return binascii.crc_hqx(tagged.encode(), 0) % SLOTS


def port_at(slots: Slots, slot: int) -> int | None:
    """Return the port of the node that serves a slot."""
    return next((port for first, last, port in slots if first <= slot <= last), None)


def slots_of(node: ValkeyNode) -> Slots:
    """Return what a node says of all slots; nothing if it cannot be asked."""
    try:
        found = node.ask("CLUSTER", "SLOTS")
    except redis.RedisError:
        return ()
    return tuple(sorted((first, last, master[1]) for first, last, master, *_ in found))
