"""The event loop of a process, which coalesces wake-ups if it is busy.

At the pace of real calls each frame, and each answer of the store, would wake the loop separately,
and the wake-up costs more than the frame. Therefore a busy loop waits a moment between two polls,
and handles everything that has arrived at once, like the adaptive interrupt coalescing of network
cards. An idle loop polls without delay.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

WINDOW_SECONDS = 0.02
"""The window over which the load of the loop is measured."""

BUSY_SHARE, IDLE_SHARE = 0.5, 0.2
"""Shares of a core: a loop above the first is busy until it falls below the second. They differ
since waiting reduces the load."""

_NOTHING: list[tuple[selectors.SelectorKey, int]] = []


class CoalescingSelector(selectors.DefaultSelector):
    """A selector that polls at most once per `wait_seconds` while its loop is busy.

    `clock` returns monotonic seconds, and `sleep` waits for some. Timers are kept: no wait is
    longer than the `timeout` that is asked for.
    """

    def __init__(
        self,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._sleep = sleep
        self._looked_at = self._returned_at = self._window_began = clock()
        self._worked = 0.0
        self.is_busy = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the files that are ready. See `selectors.BaseSelector.select`."""
        now = self._clock()
        self._note_work(now)
        wait = self._looked_at + self._wait_seconds - now if self.is_busy else 0.0
        if wait > 0:
            if timeout is not None and timeout <= wait:  # 0, nearly always: callbacks are due
                if timeout > 0:
                    self._sleep(timeout)
                self._returned_at = self._clock() if timeout > 0 else now
                return _NOTHING
            self._sleep(wait)
            timeout = None if timeout is None else timeout - wait
        ready = super().select(timeout)
        self._looked_at = self._returned_at = self._clock()
        return ready

    def _note_work(self, now: float) -> None:
        """Note that the loop has worked since it was answered."""
        self._worked += now - self._returned_at
        elapsed = now - self._window_began
        if elapsed >= WINDOW_SECONDS:
            share = self._worked / elapsed
            self.is_busy = share > (IDLE_SHARE if self.is_busy else BUSY_SHARE)
            self._window_began, self._worked = now, 0.0


def run(main: Coroutine[Any, Any, None], coalesce_seconds: float) -> None:
    """Run a process's main coroutine in a loop whose wakes are coalesced; in a usual one with 0."""

    def make_loop() -> asyncio.AbstractEventLoop:
        selector = CoalescingSelector(coalesce_seconds) if coalesce_seconds else None
        return asyncio.SelectorEventLoop(selector)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main)
