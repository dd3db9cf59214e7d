"""What the plain readers of all technologies have in common."""

from typing import NamedTuple


class FoundEntry(NamedTuple):
    """An entry as a consumer finds it: its type, and its data, which is audio or JSON."""

    kind: str
    data: bytes


class Unreadable(Exception):
    """A plain client could not read what is published; the message says why."""
