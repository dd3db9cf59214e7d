"""Use case: end a run, at its sender's or at our own request."""

import asyncio
import logging

from application.audio_health import AudioHealth
from application.background import Background
from application.call_context import call_context
from application.delivery.live_stream import LiveStream
from application.ports.clock import Clock
from application.ports.telemetry import Telemetry
from domain.entries import Gap
from domain.events import EndReason

_log = logging.getLogger(__name__)


class EndInteraction:
    """Ends a run: exactly one end is published, after everything before it."""

    def __init__(
        self,
        clock: Clock,
        telemetry: Telemetry,
        background: Background,
        *,
        expire_seconds: float,
        audio_health: AudioHealth | None = None,
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._background = background
        self._audio_health = audio_health
        self._expire_seconds = expire_seconds

    def __call__(self, stream: LiveStream, reason: EndReason) -> None:
        """Append the end; it is stored once the stream's log is empty.

        If a newer generation holds the stream there is nothing to end.
        """
        if stream.is_fenced:
            return
        entries = stream.interaction.end(reason)
        if isinstance(entries[0], Gap):
            self._telemetry.frames("missing", entries[0].missing)
        stream.log.put(stream, entries, self._clock.monotonic())
        if self._audio_health is not None:
            self._audio_health.end(stream)
        self._background.own(self._see_it_through(stream, reason))

    async def _see_it_through(self, stream: LiveStream, reason: EndReason) -> None:
        """Wait until the end is published, at most until the stream would have expired."""
        try:
            async with asyncio.timeout(self._expire_seconds):
                await stream.log.wait_until_empty(stream)
        except TimeoutError:
            stream.log.abandon()
            _log.error("stream could not be ended", extra=self._facts(stream, reason))
        else:
            if not stream.is_fenced:
                self._telemetry.run_ended(reason.value)
                _log.info("stream ended", extra=self._facts(stream, reason))
        finally:
            stream.log.leave(stream)

    @staticmethod
    def _facts(stream: LiveStream, reason: EndReason) -> dict[str, object]:
        return {
            **call_context(stream.interaction.opening),
            "generation": stream.lease.generation,
            "reason": reason.value,
            "ledger": stream.interaction.ledger.counters(),
        }
