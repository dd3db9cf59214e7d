"""Linger: open batches wait for more frames. Larger batches and fewer store calls cost less CPU.

The time of a batch starts with its first frame. When a batch is due, batches that are due soon are
sent with it, so that the store gets fewer calls.
"""

import asyncio
from collections import deque
from typing import Protocol

from application.ports.clock import Clock

TOGETHER = 0.25
"""The share of the linger by which a batch may be sent earlier, together with others."""


class Waiting(Protocol):
    """A log whose open batch waits."""

    def note_due(self, due_at: float) -> None:
        """Send the batch that is due at this monotonic time, if it is still open."""
        ...


class Linger:
    """How long an open batch waits, in seconds; 0: not at all. One timer wakes all due logs."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._waiting: deque[tuple[float, Waiting]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, log: Waiting, since: float) -> float:
        """Notify a log when its batch, begun at `since`, is due; return when that is."""
        due_at = since + self.seconds
        self._waiting.append((due_at, log))
        if self._timer is None:
            self._set_timer()
        return due_at

    def close(self) -> None:
        """Stop all notifications."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        delay = self._waiting[0][0] - self._clock.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        until = self._clock.monotonic() + TOGETHER * self.seconds
        waiting = self._waiting
        while waiting and waiting[0][0] <= until:
            due_at, log = waiting.popleft()
            log.note_due(due_at)
        if waiting and self._timer is None:
            self._set_timer()
