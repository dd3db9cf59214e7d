"""Knows whether the destination takes writes and has what it confirmed; says so once per change."""

import asyncio
import logging
from contextlib import suppress

from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import Destination
from application.ports.errors import PublisherError
from application.ports.telemetry import Telemetry
from application.time_limit import answered_within

CHECK_EVERY_SECONDS = 1.0
CHECK_SECONDS = 2.0
"""How often the destination is tried, and how long it may take to answer."""

RETRY_SECONDS = 0.2
"""How often it is tried while it does not, or has not yet shown what it still knows."""

MOST_CAUSES = 10
"""How many causes of one outage are told, each once."""

ASKED = "the broker is asked what it still knows"

_log = logging.getLogger(__name__)


class BrokerWatch:
    """Tries the destination again and again; `run` is its body."""

    def __init__(
        self,
        destination: Destination,
        sender: Sender,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._destination = destination
        self._sender = sender
        self._clock = clock
        self._telemetry = telemetry
        self._up = asyncio.Event()
        self._doubt = asyncio.Event()
        self._tried = False
        self._trouble: str | None = None
        self._told: set[str] = set()
        sender.on_doubt = self._on_doubt

    @property
    def is_up(self) -> bool:
        """Whether the destination takes writes, and has all that it once confirmed."""
        return self._up.is_set() and self._sender.is_proved

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            self._doubt.clear()
            await self.check()
            if not self._up.is_set():
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_SECONDS):
                    await self._doubt.wait()

    def _on_doubt(self) -> None:
        """Be ready no more at once, and look."""
        self._doubt.set()
        if self._up.is_set():
            self._note(ASKED)

    async def check(self) -> None:
        """Try the destination once."""
        since = self._clock.monotonic()
        try:
            async with answered_within(CHECK_SECONDS):
                await self._destination.verify_writable()
        except PublisherError as error:
            self._note("the broker does not take writes", str(error))
            self._sender.note_failure()
        else:
            self._sender.note_alive(since)
            proved = self._sender.is_proved
            self._note(None if proved else ASKED)

    async def wait_until_up(self, seconds: float) -> bool:
        """Wait at most `seconds` for the destination; tell whether it takes writes."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    def _note(self, trouble: str | None, error: str = "") -> None:
        has_changed = not self._tried or trouble != self._trouble
        is_new_cause = error not in self._told and len(self._told) < MOST_CAUSES
        if not has_changed and not (error and is_new_cause):
            return
        self._tried, self._trouble = True, trouble
        if has_changed:
            self._telemetry.broker(up=trouble is None)
        if trouble is None:
            self._told.clear()
            self._up.set()
            _log.info("the broker takes writes")
            return
        self._up.clear()
        if error:
            self._told.add(error)
            _log.error(trouble, extra={"error": error})
        else:
            _log.info(trouble)
