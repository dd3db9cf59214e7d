"""Delays repeated failed authentications, but never valid credentials."""

import asyncio
from collections import OrderedDict, deque

from application.ports.clock import Clock

FREE_FAILURES = 20
WINDOW_SECONDS = 60.0
"""From this failure of one address within the window on, refusals are delayed."""

DELAY_SECONDS = 2.0
MAX_WAITING = 100
"""How many refusals may wait at a time; further ones are answered at once."""

MAX_ADDRESSES = 10_000
"""How many addresses are remembered; the one that failed longest ago is dropped first."""


class Brake:
    """Counts failed authentications by address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._waiting = 0

    async def on_failure(self, address: str) -> bool:
        """Count a failure, and delay its answer after many; return False if too many wait."""
        if self._note(address) < FREE_FAILURES:
            return True
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(DELAY_SECONDS)
        finally:
            self._waiting -= 1
        return True

    def _note(self, address: str) -> int:
        """Return how many failures of the address are in the window, this one included."""
        now = self._clock.monotonic()
        failures = self._failures.setdefault(address, deque(maxlen=FREE_FAILURES))
        self._failures.move_to_end(address)
        failures.append(now)
        while failures[0] <= now - WINDOW_SECONDS:
            failures.popleft()
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return len(failures)
