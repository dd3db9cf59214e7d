"""Knows whether one part of the destination takes writes and is in sync.

It is tried regularly, and each change is logged once.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import Destination, Part
from application.ports.errors import PublisherError
from application.ports.telemetry import Losses
from application.time_limit import answered_within, store_backoff

CHECK_EVERY_SECONDS = 1.0
CHECK_SECONDS = 2.0
"""How often a part is tried, and how long it may take to answer."""

MAX_CAUSES = 10
"""How many causes of one outage are logged, each once."""

ASKED = "the broker is asked what it still knows"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Outage:
    """One outage of a part; `before` has the losses and replays until it began."""

    since: float
    before: Losses
    waited_bytes: int = 0
    waited_streams: int = 0


class PartWatch:
    """Tries one part; `run` is its body. `on_change` is called when it is up or down."""

    def __init__(
        self,
        part: Part,
        destination: Destination,
        sender: Sender,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.part = part
        self.is_writable = False
        self._destination = destination
        self._sender = sender
        self._clock = clock
        self._on_change = on_change
        self._doubt = asyncio.Event()
        self.is_tried = False
        self._trouble: str | None = None
        self._told: set[str] = set()
        self._outage: _Outage | None = None

    @property
    def is_up(self) -> bool:
        """Whether the part takes writes, and has all entries that it confirmed."""
        return self.is_writable and self._sender.is_in_sync(self.part.name)

    @property
    def away_since(self) -> float | None:
        """When the part answered last, in monotonic seconds, while it takes no writes."""
        return None if self._outage is None or self.is_writable else self._outage.since

    async def run(self) -> None:
        """Watch for ever: more often while the part takes no writes, or is in doubt."""
        backoff = store_backoff()
        while True:
            self._doubt.clear()
            await self.check()
            if not self.is_writable:
                await asyncio.sleep(backoff.note_failure())
                continue
            backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_SECONDS):
                    await self._doubt.wait()

    def doubt(self) -> None:
        """Become unready at once, and check the part."""
        self._doubt.set()
        if self.is_writable:
            self._note(ASKED)

    async def check(self) -> None:
        """Try the part once."""
        name, since = self.part.name, self._clock.monotonic()
        self._measure_outage()
        try:
            async with answered_within(CHECK_SECONDS):
                await self._destination.verify_part(name)
        except PublisherError as error:
            self._note("the broker does not take writes", str(error))
            self._sender.note_failure(name)
        else:
            self._sender.note_alive(since, name)
            self._note(None if self._sender.is_in_sync(name) else ASKED)

    def _note(self, trouble: str | None, error: str = "") -> None:
        has_changed = not self.is_tried or trouble != self._trouble
        is_new_cause = error not in self._told and len(self._told) < MAX_CAUSES
        if not has_changed and not (error and is_new_cause):
            return
        if trouble is not None and self._outage is None and (self.is_writable or error):
            alive_at = self._sender.alive_at(self.part.name)
            self._outage = _Outage(alive_at, self._sender.losses(self.part.name))
            self._measure_outage()
        self.is_tried, self._trouble = True, trouble
        self.is_writable = trouble is None
        if has_changed:
            self._on_change()
        if trouble is None:
            self._told.clear()
            self._log_up()
        elif error:
            self._told.add(error)
            _log.error(trouble, extra={**self._names(), "error": error})
        else:
            _log.info(trouble, extra=self._names())

    def _measure_outage(self) -> None:
        """Record how much waits for the destination, if the part is away."""
        outage, sender, name = self._outage, self._sender, self.part.name
        if outage is not None:
            outage.waited_bytes = max(outage.waited_bytes, sender.unconfirmed_bytes(name))
            outage.waited_streams = max(outage.waited_streams, sender.unpublished(name))

    def _log_up(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            _log.info("the broker takes writes", extra=self._names())
            return
        before, now = outage.before, self._sender.losses(self.part.name)
        lost = now.lost - before.lost
        _log.log(
            logging.WARNING if lost else logging.INFO,
            "the broker is back, %s",
            "frames are lost" if lost else "nothing is lost",
            extra={
                **self._names(),
                "away_seconds": round(self._clock.monotonic() - outage.since, 1),
                "waited_streams": outage.waited_streams,
                "waited_bytes": outage.waited_bytes,
                "replayed_frames": now.replayed - before.replayed,
                "rebased_streams": now.rebased - before.rebased,
                "lost_frames": lost,
            },
        )

    def _names(self) -> dict[str, object]:
        return {"part": self.part.name} if self.part.name else {}
