"""How long to wait before the next try: longer after each failure in a row, up to a cap."""

from collections.abc import Callable


class Backoff:
    """Counts failures in a row; `seconds` is the resulting wait.

        failures in a row    0    1        2                 3                  ...
        seconds              0    first    first x factor    first x factor^2   at most cap

    `draw` returns a number from 0 to 1 for each failure. With it `seconds` is that share of the
    wait (full jitter): processes that failed together do not try together.
    It has no clock and does not wait itself.
    """

    __slots__ = ("_cap", "_draw", "_factor", "_first", "_full", "failures", "seconds")

    def __init__(
        self,
        first: float,
        cap: float,
        factor: float = 2.0,
        *,
        draw: Callable[[], float] | None = None,
    ) -> None:
        if not (0 < first <= cap < float("inf") and factor >= 1):
            raise ValueError(f"no backoff from {first:g} s by {factor:g} up to {cap:g} s")
        self._first, self._cap, self._factor, self._draw = first, cap, factor, draw
        self._full = 0.0
        self.failures = 0
        self.seconds = 0.0

    def note_failure(self) -> float:
        """Count one more failure; return the wait before the next try."""
        self._full = min(self._full * self._factor, self._cap) if self.failures else self._first
        self.failures += 1
        self.seconds = self._full if self._draw is None else self._full * self._draw()
        return self.seconds

    def reset(self) -> None:
        """Reset the count after a success."""
        self.failures, self.seconds = 0, 0.0
