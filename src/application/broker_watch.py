"""Knows whether the destination takes writes and has what it confirmed; logs each change once."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import Destination
from application.ports.errors import PublisherError
from application.ports.telemetry import Losses, Telemetry
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


@dataclass(slots=True)
class _Outage:
    """What has come of one: `before` is what was lost and given again until it began."""

    since: float
    before: Losses
    waited_bytes: int = 0
    waited_streams: int = 0


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
        self._outage: _Outage | None = None
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
        self._measure_outage()
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
        if trouble is not None and self._outage is None and (self._up.is_set() or error):
            self._outage = _Outage(self._sender.alive_at, self._telemetry.losses())
            self._measure_outage()
        self._tried, self._trouble = True, trouble
        if has_changed:
            self._telemetry.broker(up=trouble is None)
        if trouble is None:
            self._told.clear()
            self._up.set()
            self._log_up()
            return
        self._up.clear()
        if error:
            self._told.add(error)
            _log.error(trouble, extra={"error": error})
        else:
            _log.info(trouble)

    def _measure_outage(self) -> None:
        """Note how much waits for the destination, if it is away."""
        outage, sender = self._outage, self._sender
        if outage is not None:
            waiting = sender.budget.held_bytes.unconfirmed
            outage.waited_bytes = max(outage.waited_bytes, waiting)
            outage.waited_streams = max(outage.waited_streams, sender.unpublished())

    def _log_up(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            _log.info("the broker takes writes")
            return
        before, now = outage.before, self._telemetry.losses()
        lost = now.lost - before.lost
        _log.log(
            logging.WARNING if lost else logging.INFO,
            "the broker is back, %s",
            "frames are lost" if lost else "nothing is lost",
            extra={
                "away_seconds": round(self._clock.monotonic() - outage.since, 1),
                "waited_streams": outage.waited_streams,
                "waited_bytes": outage.waited_bytes,
                "refilled_frames": now.refilled - before.refilled,
                "streams_begun_again": now.began_again - before.began_again,
                "lost_frames": lost,
            },
        )
