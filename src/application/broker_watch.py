"""Knows whether the destination takes writes, and says so once per change."""

import asyncio
import logging

from application.ports.destination import Destination
from application.ports.errors import PublisherError
from application.ports.telemetry import Telemetry
from application.time_limit import answered_within

CHECK_EVERY_SECONDS = 1.0
CHECK_SECONDS = 2.0
"""How often the destination is tried, and how long it may take to answer."""

_log = logging.getLogger(__name__)


class BrokerWatch:
    """Tries the destination again and again; `run` is its body."""

    def __init__(self, destination: Destination, telemetry: Telemetry) -> None:
        self._destination = destination
        self._telemetry = telemetry
        self._up = asyncio.Event()
        self._tried = False

    @property
    def is_up(self) -> bool:
        """Whether the destination took the last write that tried it."""
        return self._up.is_set()

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    async def check(self) -> None:
        """Try the destination once."""
        try:
            async with answered_within(CHECK_SECONDS):
                await self._destination.verify_writable()
        except PublisherError as error:
            self._note(error)
        else:
            self._note(None)

    async def wait_until_up(self, seconds: float) -> bool:
        """Wait at most `seconds` for the destination; tell whether it takes writes."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    def _note(self, error: PublisherError | None) -> None:
        up = error is None
        if self._tried and up == self._up.is_set():
            return
        self._tried = True
        self._telemetry.broker(up=up)
        if up:
            self._up.set()
            _log.info("broker takes writes")
        else:
            self._up.clear()
            _log.error("broker does not take writes", extra={"error": str(error)})
