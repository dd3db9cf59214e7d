"""Use case: a run ends because somebody says so."""

import asyncio
import logging

from application.background import Background
from application.call_context import call_context
from application.live_stream import LiveStream, LiveStreams
from application.ports.clock import Clock
from application.ports.telemetry import Telemetry
from domain.events import EndReason, GapDetected

_log = logging.getLogger(__name__)


class EndInteraction:
    """Ends a run: exactly one end is published, after everything before it."""

    def __init__(
        self,
        clock: Clock,
        telemetry: Telemetry,
        live_streams: LiveStreams,
        background: Background,
        *,
        expire_seconds: float,
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._live_streams = live_streams
        self._background = background
        self._expire_seconds = expire_seconds

    def __call__(self, stream: LiveStream, reason: EndReason) -> None:
        """Send the end on its way; it is published when the stream's outbox is empty.

        Where a newer generation holds the stream there is nothing to end.
        """
        if stream.outbox.is_fenced:
            return
        events = stream.interaction.end(reason)
        if isinstance(events[0], GapDetected):
            self._telemetry.frames("missing", events[0].missing)
        stream.outbox.put(events, self._clock.monotonic())
        self._background.own(self._see_it_through(stream, reason))

    async def _see_it_through(self, stream: LiveStream, reason: EndReason) -> None:
        """Hold the stream until its end is published, at most until it would have expired."""
        try:
            async with asyncio.timeout(self._expire_seconds):
                await stream.outbox.wait_until_empty()
        except TimeoutError:
            stream.outbox.abandon()
            _log.error("stream could not be ended", extra=self._facts(stream, reason))
        else:
            if not stream.outbox.is_fenced:
                _log.info("stream ended", extra=self._facts(stream, reason))
        finally:
            self._live_streams.leave(stream)

    @staticmethod
    def _facts(stream: LiveStream, reason: EndReason) -> dict[str, object]:
        return {
            **call_context(stream.interaction.opening),
            "generation": stream.interaction.generation,
            "reason": reason.value,
            "ledger": stream.interaction.ledger.counters(),
        }
