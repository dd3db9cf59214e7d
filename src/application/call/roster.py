"""All open sessions, and their drain."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from application.call.session import Session
from application.ports.telemetry import Telemetry

CHECK_SECONDS = 0.05
AFTERWARDS_SECONDS = 3.0
"""The time for the last sessions to publish their ends and to close."""

MAX_CUT_LINES = 100
"""How many calls that a drain cuts are logged one by one."""

_log = logging.getLogger(__name__)


class Roster:
    """Knows every session, and whether the service is draining."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._held: set[Session] = set()
        self._arriving = 0
        self._draining = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        """Whether new sessions are refused."""
        return self._draining.is_set()

    async def wait_until_draining(self) -> None:
        """Wait until the drain begins."""
        await self._draining.wait()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Register a handshake inside the context: it is answered before the service stops."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    @contextmanager
    def entered(self, session: Session) -> Iterator[None]:
        """Register `session` for the time of the context."""
        self._held.add(session)
        if self.is_draining:
            session.on_drain()
        try:
            yield
        finally:
            self._held.discard(session)

    async def drain(self, seconds: float, is_urgent: Callable[[], bool]) -> int:
        """End every session; those whose senders cannot resume get `seconds`.

        Returns how many calls were cut. Returns at once when `is_urgent` becomes true.
        """
        self._draining.set()
        self._telemetry.draining()
        held = tuple(self._held)
        dialects = dict(Counter(session.dialect for session in held))
        extra = {"calls": len(held), "dialects": dialects, "drain_seconds": seconds}
        _log.info("draining, %s call(s)", len(held), extra=extra)
        for session in held:
            session.on_drain()
        await self._wait(seconds, is_urgent)
        cut = self._log_cut()
        for session in tuple(self._held):
            session.on_drain_over()
        await self._wait(AFTERWARDS_SECONDS, is_urgent)
        return cut

    def _log_cut(self) -> int:
        """Log the calls that are still live when the drain is over, and return their number."""
        calls = [call for session in self._held if (call := session.call) is not None]
        for call in calls[:MAX_CUT_LINES]:
            _log.warning("call cut, the drain is over", extra=dict(call))
        if (further := len(calls) - MAX_CUT_LINES) > 0:
            _log.warning("further calls cut, the drain is over", extra={"calls": further})
        return len(calls)

    async def _wait(self, seconds: float, is_urgent: Callable[[], bool]) -> None:
        """Wait until no session is left. It polls, since a signal may make it urgent."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (self._held or self._arriving) and loop.time() < until and not is_urgent():  # noqa: ASYNC110
            await asyncio.sleep(CHECK_SECONDS)
