"""Which entries of a stream are older than retention."""

from application.ports.store import BEGINNING, Mark

STEP_SECONDS = 1.0
"""How finely the ages of positions are remembered."""


class Trimming:
    """Remembers when positions were taken."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._keep_from = BEGINNING
        self._taken: list[tuple[float, Mark]] = []

    def first_to_keep(self, now: float, generation: int, next_position: int) -> Mark:
        """Return the newest mark that is older than retention; `next_position` is taken now.

        `now` is monotonic, in seconds.
        """
        if not self._taken or self._taken[-1][0] + STEP_SECONDS <= now:
            self._taken.append((now, Mark(generation, next_position)))
        while self._taken and self._taken[0][0] + self._seconds <= now:
            self._keep_from = self._taken.pop(0)[1]
        return self._keep_from

    def reset_to(self, position: int) -> None:
        """Forget the ages of positions from `position` on: they are written again."""
        self._taken = [it for it in self._taken if it[1].position < position]
        if self._keep_from.position >= position:
            self._keep_from = BEGINNING
