"""What a node of a cluster tells of itself and of the slots."""

import binascii
from typing import Final

import redis
from valkey_node import ValkeyNode, holds

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


def serves(node: ValkeyNode, slot: int) -> bool:
    """Tell whether a node takes writes of a slot, as far as it says itself."""

    def is_serving() -> bool:
        is_ok = "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))
        return is_ok and port_at(slots_of(node), slot) == node.port

    return node.is_able and node.role() == "master" and holds(is_serving)


def master_port(node: ValkeyNode) -> int | None:
    """Return the port of the master that a node follows; None if it is one, or cannot be asked."""
    try:
        found = node.ask("ROLE")
    except redis.RedisError:
        return None
    return int(found[2]) if found[0] == "slave" else None
