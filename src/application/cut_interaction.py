"""Use case: a sender is lost without having ended its run.

The run waits for its sender. If nobody takes it up in time it is ended on the sender's behalf. What
the sender has said is published meanwhile, as soon as the broker takes it.
"""

import asyncio

from application.background import Background
from application.end_interaction import EndInteraction
from application.live_stream import LiveStream, LiveStreams
from domain.account import State
from domain.events import EndReason


class CutInteraction:
    """Lets runs wait for their senders."""

    def __init__(
        self,
        end_interaction: EndInteraction,
        live_streams: LiveStreams,
        background: Background,
        *,
        resume_seconds: float,
    ) -> None:
        self._end_interaction = end_interaction
        self._live_streams = live_streams
        self._background = background
        self._resume_seconds = resume_seconds

    def __call__(self, stream: LiveStream, reason: EndReason = EndReason.DISCONNECTED) -> None:
        """Let the run wait for its sender, or for a newer generation, and end it otherwise."""
        stream.outbox.listen(None)
        if stream.interaction.state is State.LIVE:
            stream.interaction.cut()
        if stream.outbox.is_fenced:
            self._live_streams.leave(stream)
            return
        stream.outbox.put_account()
        self._background.own(self._end_unless_taken_up(stream, reason))

    async def _end_unless_taken_up(self, stream: LiveStream, reason: EndReason) -> None:
        try:
            async with asyncio.timeout(self._resume_seconds):
                await stream.outbox.wait_until_fenced()
        except TimeoutError:
            self._end_interaction(stream, reason)
        else:
            self._live_streams.leave(stream)
