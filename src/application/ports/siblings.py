"""The port through which the processes of one service share their counts."""

from collections.abc import Sequence
from typing import Protocol


class Siblings(Protocol):
    """Keeps the latest snapshot of each process, which is opaque to the port."""

    @property
    def number(self) -> int:
        """The number of this process, from 0 on."""
        ...

    def say(self, words: bytes) -> None:
        """Replace the snapshot of this process.

        Raises:
            ValueError: it is too long.

        """
        ...

    def own(self) -> bytes | None:
        """Return this process's snapshot, or that of the dead process that it replaces."""
        ...

    def others(self) -> Sequence[bytes]:
        """Return the snapshots of all other living processes."""
        ...

    def gone(self) -> Sequence[bytes]:
        """Return the snapshots of dead processes without a successor."""
        ...
