"""Use case: a sender is lost without having ended its run.

The run waits for its sender. If nobody takes it up in time it is ended on the sender's behalf,
from where the published stream really stands: after a failure of the broker nobody knows what of
the last batch was written, so the broker is asked, and what is not there is counted as lost.
"""

import asyncio
import logging

from application.end_interaction import EndInteraction, PublicationEnded
from application.live_stream import LiveStream, LiveStreams
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.publisher import Fenced, StreamPublisher, Vanished
from application.ports.telemetry import Telemetry
from domain.events import EndReason
from domain.interaction import Account, State

STANDING_SECONDS = 5.0
"""How long the publisher may take to tell where a stream stands."""

_log = logging.getLogger(__name__)


class CutInteraction:
    """Owns the runs that wait for their sender; `close` cancels the waiting."""

    def __init__(
        self,
        publisher: StreamPublisher,
        end_interaction: EndInteraction,
        live_streams: LiveStreams,
        telemetry: Telemetry,
        *,
        resume_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._end_interaction = end_interaction
        self._live_streams = live_streams
        self._telemetry = telemetry
        self._resume_seconds = resume_seconds
        self._waiting: set[asyncio.Task[None]] = set()

    def __call__(self, stream: LiveStream) -> None:
        """Let the run wait for its sender, or for a newer generation, and end it otherwise."""
        stream.outbox.listen(None)
        if stream.interaction.state is State.LIVE:
            stream.interaction.cut()
        if stream.outbox.failure is None:
            stream.outbox.put_account()
        task = asyncio.create_task(self._end_unless_taken_up(stream))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Stop waiting; the runs stay cut, for another process to end or a sender to resume."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _end_unless_taken_up(self, stream: LiveStream) -> None:
        try:
            async with asyncio.timeout(self._resume_seconds):
                await stream.outbox.wait_until_fenced()
        except TimeoutError:
            await self._end(stream)
        finally:
            self._live_streams.leave(stream)
            stream.outbox.forget_unconfirmed(stream.outbox.published)

    async def _end(self, stream: LiveStream) -> None:
        reason = EndReason.DISCONNECTED
        try:
            if stream.outbox.failure is not None:
                reason = EndReason.BROKER_LOST
                published = await self._ask_standing(stream)
                self._count_lost(stream, published)
                if published.state is State.ENDED:
                    return
            await self._end_interaction(stream, reason)
        except (PublisherError, PublicationEnded) as error:
            if isinstance(stream.outbox.failure, Fenced):
                return
            self._count_lost(stream, stream.outbox.published)
            _log.error(
                "stream could not be ended",
                extra={
                    "stream": str(stream.key),
                    "generation": stream.interaction.generation,
                    "reason": reason.value,
                    "error": str(error),
                    "ledger": stream.interaction.ledger.counters(),
                },
            )

    async def _ask_standing(self, stream: LiveStream) -> Account:
        try:
            async with asyncio.timeout(STANDING_SECONDS):
                standing = await self._publisher.standing(stream.outbox.lease)
        except TimeoutError as timeout:
            raise BrokerUnavailable(f"no answer within {STANDING_SECONDS:g} s") from timeout
        if isinstance(standing, Fenced):
            stream.outbox.supersede(standing.generation)
            raise PublicationEnded(standing)
        if isinstance(standing, Vanished):
            raise PublicationEnded(standing)
        return standing

    def _count_lost(self, stream: LiveStream, published: Account) -> None:
        forgotten = stream.outbox.forget_unconfirmed(published)
        stream.interaction.abandon(published, forgotten.lost_frames, forgotten.lost_bytes)
        self._telemetry.frames("published", forgotten.published_frames)
        self._telemetry.frames("lost", forgotten.lost_frames)
