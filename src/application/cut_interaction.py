"""Use case: a sender is lost before it has ended its run.

The run waits for its sender. If no start resumes it in time, it is ended on the sender's behalf.
Received frames are published meanwhile, as soon as the broker takes them. The time in which the
broker is away does not count, since no start could resume the run.
"""

import asyncio
import logging
from contextlib import suppress

from application.background import Background
from application.call_context import call_context
from application.delivery.live_stream import LiveStream
from application.end_interaction import EndInteraction
from application.ports.clock import Clock
from domain.account import State
from domain.events import EndReason

_log = logging.getLogger(__name__)

PROMPT_SECONDS = 1.0
"""A store that takes longer to return a head counts as away."""


class CutInteraction:
    """Lets runs wait for their senders."""

    def __init__(
        self,
        end_interaction: EndInteraction,
        background: Background,
        clock: Clock,
        *,
        resume_seconds: float,
        expire_seconds: float,
    ) -> None:
        self._end_interaction = end_interaction
        self._background = background
        self._clock = clock
        self._resume_seconds = resume_seconds
        self._expire_seconds = expire_seconds

    def __call__(self, stream: LiveStream, reason: EndReason = EndReason.DISCONNECTED) -> None:
        """Let the run wait for its sender, or for a newer generation, and end it otherwise."""
        stream.listener = None
        if stream.interaction.state is State.LIVE:
            stream.interaction.cut()
        if stream.is_fenced:
            stream.log.leave(stream)
            return
        _log.info(
            "stream cut: it waits for its sender",
            extra={
                **call_context(stream.interaction.opening),
                "generation": stream.lease.generation,
                "reason": reason.value,
            },
        )
        stream.log.put_account(stream)
        self._background.own(self._end_unless_taken_up(stream, reason))

    async def _end_unless_taken_up(self, stream: LiveStream, reason: EndReason) -> None:
        log = stream.log
        give_up_at = self._clock.monotonic() + self._expire_seconds
        is_away = True  # until the cut is stored
        while is_away and not stream.is_fenced and self._clock.monotonic() < give_up_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0, give_up_at - self._clock.monotonic())):
                    await log.wait_until_empty(stream)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resume_seconds):
                    await log.wait_until_fenced(stream)
            is_away = not await self._is_answered(stream)
        if stream.is_fenced:
            log.leave(stream)
        else:
            self._end_interaction(stream, reason)

    @staticmethod
    async def _is_answered(stream: LiveStream) -> bool:
        """Read the head of the stream."""
        stream.log.doubt()
        try:
            async with asyncio.timeout(PROMPT_SECONDS):
                await stream.log.wait_until_empty(stream)
        except TimeoutError:
            return False
        return True
