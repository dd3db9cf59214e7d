"""`Clock` of the operating system."""

import time

from application.ports.clock import Clock, Instant


class SystemClock(Clock):
    """Tells the time of this machine."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary instant."""
        return time.monotonic()

    def epoch_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def instant(self) -> Instant:
        """Return the instant by both; asked for at every read, so it asks the system itself."""
        return Instant(time.monotonic(), time.time_ns() // 1_000_000)
