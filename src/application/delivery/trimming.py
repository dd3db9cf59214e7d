"""Knows which entries of a stream are older than the retention."""

from application.ports.store import BEGINNING, Mark

STEP_SECONDS = 1.0
"""The resolution of the ages of positions."""


class Trimming:
    """Remembers when positions were stored; times are monotonic, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._keep_from = BEGINNING
        self._stored: list[tuple[float, Mark]] = []

    def note_stored(self, end: Mark, now: float) -> None:
        """Note that all entries below `end` are stored."""
        if not self._stored or self._stored[-1][0] + STEP_SECONDS <= now:
            self._stored.append((now, end))

    def first_to_keep(self, now: float) -> Mark:
        """Return the highest mark below which all entries are older than the retention."""
        while self._stored and self._stored[0][0] + self._seconds <= now:
            self._keep_from = self._stored.pop(0)[1]
        return self._keep_from

    def reset_to(self, position: int) -> None:
        """Forget the ages of positions from `position` on: they are written again."""
        self._stored = [it for it in self._stored if it[1].position < position]
        if self._keep_from.position >= position:
            self._keep_from = BEGINNING
