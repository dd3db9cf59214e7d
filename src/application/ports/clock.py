"""The port for time."""

from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One instant on both clocks: seconds for durations, milliseconds since 1970 for stamps."""

    monotonic: float
    epoch_ms: int


class Clock(Protocol):
    """Two clocks: one for durations, one for time stamps."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary instant, which never go back; for time limits."""
        ...

    def epoch_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970; may jump, for time stamps only."""
        ...

    def instant(self) -> Instant:
        """Return the current instant on both clocks."""
        return Instant(self.monotonic(), self.epoch_ms())
