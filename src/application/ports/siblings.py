"""The port over which the processes of one service know of each other's counts."""

from collections.abc import Sequence
from typing import Protocol


class Siblings(Protocol):
    """Keeps the latest snapshot of each process; what it means only they know."""

    @property
    def number(self) -> int:
        """Which of the processes we are, from 0 on."""
        ...

    def say(self, words: bytes) -> None:
        """Replace our own snapshot.

        Raises:
            ValueError: they are too long to be kept.

        """
        ...

    def own(self) -> bytes | None:
        """Return our own snapshot, or that of the dead process whose place we have taken."""
        ...

    def others(self) -> Sequence[bytes]:
        """Return the snapshots of all other processes that live."""
        ...

    def gone(self) -> Sequence[bytes]:
        """Return the snapshots of processes that are gone, and whose places are free."""
        ...
