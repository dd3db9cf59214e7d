"""Common types of the plain readers of all technologies."""

from typing import NamedTuple


class FoundEntry(NamedTuple):
    """An entry as a consumer finds it: its type, and its data, which is audio or JSON."""

    kind: str
    data: bytes


class Unreadable(Exception):
    """A plain client could not read the published stream; the message says why."""
