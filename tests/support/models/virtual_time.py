"""Time that passes only when nothing works."""

import asyncio
import selectors
from typing import Any

from application.ports.clock import Clock


class HandDrivenClock(Clock):
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def epoch_ms(self) -> int:
        return round(self.now * 1_000)


MAX_LOOKS = 20_000
"""How often the loop may go round before any time passes."""


class _NeverWaiting(selectors.SelectSelector):
    """Where a selector would wait, it lets the time pass at once."""

    def __init__(self, clock: HandDrivenClock) -> None:
        super().__init__()
        self._clock = clock
        self._looks = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:  # else the loop has work, and looks again after it
            ready = super().select(0)
            if ready:
                return ready
        if timeout is None:
            raise AssertionError("everybody waits for ever")
        self._looks = 0 if timeout > 0 else self._looks + 1
        if self._looks > MAX_LOOKS:
            raise AssertionError("a task is busy for ever")
        self._clock.now += max(0.0, timeout)
        return []


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop in which seconds cost nothing: asleep is all that time can pass in."""

    def __init__(self) -> None:
        self.clock = HandDrivenClock()
        super().__init__(_NeverWaiting(self.clock))

    def time(self) -> float:
        return self.clock.now


def timeless_runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=TimelessLoop)


def clock_of(runner: asyncio.Runner) -> HandDrivenClock:
    loop: Any = runner.get_loop()
    assert isinstance(loop, TimelessLoop)
    return loop.clock
