"""The port over which the processes of one service know of each other's counts."""

from collections.abc import Sequence
from typing import Protocol


class Siblings(Protocol):
    """Keeps the last words of each process; what they mean is theirs to know."""

    @property
    def number(self) -> int:
        """Which of the processes we are, from 0 on."""
        ...

    def say(self, words: bytes) -> None:
        """Replace our own last words.

        Raises:
            ValueError: they are too long to be kept.

        """
        ...

    def own(self) -> bytes | None:
        """Return our own last words, or those of the dead process whose place we have taken."""
        ...

    def others(self) -> Sequence[bytes]:
        """Return the last words of every other process that has said any, and lives."""
        ...

    def gone(self) -> Sequence[bytes]:
        """Return the last words of those that are gone, and whose places nobody has taken yet."""
        ...
