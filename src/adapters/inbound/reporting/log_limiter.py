"""Log lines with a rate limit against floods."""

import asyncio
import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

SECONDS = 1.0
"""The default interval between two lines of a kind."""

MAX_KINDS = 200
"""How many kinds are distinguished at a time; further ones share one."""

MAX_ADDRESSES = 100
"""The maximum count of different addresses for a line."""

_FURTHER = "further kinds"


@dataclass(slots=True)
class _Line:
    """The latest waiting line of a kind, and how many lines it represents."""

    level: int
    message: str
    context: Mapping[str, object]
    error: BaseException | None
    count: int
    seconds: float
    addresses: set[str]


class LogLimiter:
    """Writes at most one line a second for each kind, with the `count` that it represents.

    `addresses` is the number of different addresses, so that the line is not taken for one peer's.

    The first of a kind is written at once; those that follow within the second are one line at the
    end of it, which has the words of the last. Belongs to the event loop in which it is used.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._waiting: dict[Hashable, _Line | None] = {}
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._is_closed = False

    def write(
        self,
        kind: Hashable,
        message: str,
        context: Mapping[str, object],
        *,
        level: int = logging.WARNING,
        error: BaseException | None = None,
        seconds: float = SECONDS,
        address: str | None = None,
    ) -> None:
        """Write a line now, or together with others of its kind within `seconds`."""
        if kind not in self._waiting and len(self._waiting) >= MAX_KINDS:
            kind = _FURTHER
        addresses = set() if address is None else {address}
        line = _Line(level, message, context, error, 1, seconds, addresses)
        if kind not in self._waiting:
            self._put(line)
            self._watch(kind, seconds)
            return
        waiting = self._waiting[kind]
        if waiting is not None:
            line.count += waiting.count
            if len(waiting.addresses) < MAX_ADDRESSES:
                waiting.addresses |= line.addresses
            line.addresses = waiting.addresses
        self._waiting[kind] = line

    def close(self) -> None:
        """Write all waiting lines; from now on every line is written at once."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        waiting = tuple(self._waiting.values())
        self._timers.clear()
        self._waiting.clear()
        for line in waiting:
            if line is not None:
                self._put(line)

    def _watch(self, kind: Hashable, seconds: float) -> None:
        """Delay further lines of the kind until these seconds are over."""
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            self._waiting[kind] = None
            self._timers[kind] = loop.call_later(seconds, self._on_time_over, kind)

    def _on_time_over(self, kind: Hashable) -> None:
        line = self._waiting.pop(kind)
        del self._timers[kind]
        if line is not None:
            self._put(line)
            self._watch(kind, line.seconds)

    def _put(self, line: _Line) -> None:
        extra = {**line.context, "count": line.count}
        if line.addresses:
            extra["addresses"] = len(line.addresses)
        self._logger.log(line.level, line.message, extra=extra, exc_info=line.error)
