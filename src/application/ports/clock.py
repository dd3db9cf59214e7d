"""The port that tells time."""

from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One instant by both clocks: seconds for durations, milliseconds since 1970 for stamps."""

    monotonic: float
    epoch_ms: int


class Clock(Protocol):
    """Two clocks: one for durations, one for time stamps."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary instant; never goes back, for every time limit."""
        ...

    def epoch_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970; may jump, for time stamps only."""
        ...

    def instant(self) -> Instant:
        """Return the instant by both."""
        return Instant(self.monotonic(), self.epoch_ms())
