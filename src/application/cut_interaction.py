"""Use case: a sender is lost without having ended its run.

The run waits for its sender. If nobody takes it up in time it is ended on the sender's behalf,
from where the published stream really stands: after a failure of the broker nobody knows what of
the last batch was written, so the broker is asked, and what is not there is counted as lost. That
is tried until it is certain, or the stream has expired. A start whose outcome is not known is
treated alike: if it was published its run has no sender, and is ended.
"""

import asyncio
import logging
from collections.abc import Coroutine

from application.broker_watch import BrokerWatch
from application.end_interaction import EndInteraction, PublicationEnded
from application.live_stream import LiveStream, LiveStreams
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.publisher import (
    Batch,
    Fenced,
    StreamPublisher,
    Vanished,
)
from application.ports.telemetry import Telemetry
from application.time_limit import AGAIN_SECONDS, answered_within
from domain.events import EndReason, InteractionEnded
from domain.interaction import Account, State

_log = logging.getLogger(__name__)


class CutInteraction:
    """Owns the runs that wait for their sender, or for the broker; `close` cancels the waiting."""

    def __init__(
        self,
        publisher: StreamPublisher,
        end_interaction: EndInteraction,
        live_streams: LiveStreams,
        broker_watch: BrokerWatch,
        clock: Clock,
        telemetry: Telemetry,
        *,
        resume_seconds: float,
        expire_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._end_interaction = end_interaction
        self._live_streams = live_streams
        self._broker_watch = broker_watch
        self._clock = clock
        self._telemetry = telemetry
        self._resume_seconds = resume_seconds
        self._expire_seconds = expire_seconds
        self._waiting: set[asyncio.Task[None]] = set()

    def __call__(self, stream: LiveStream, reason: EndReason = EndReason.DISCONNECTED) -> None:
        """Let the run wait for its sender, or for a newer generation, and end it otherwise."""
        stream.outbox.listen(None)
        if stream.interaction.state is State.LIVE:
            stream.interaction.cut()
        if stream.outbox.failure is None:
            stream.outbox.put_account()
        self.own(self._end_unless_taken_up(stream, reason))

    async def end_lost(self, stream: LiveStream, reason: EndReason) -> None:
        """End a run whose end could not be published: nobody is waited for but the broker."""
        stream.outbox.listen(None)
        await self._end(stream, reason)
        self._let_go(stream)

    def own(self, waiting: Coroutine[None, None, None]) -> None:
        """Run `waiting` as a task that `close` cancels."""
        task = asyncio.create_task(waiting)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Stop waiting; the runs stay cut, for another process to end or a sender to resume."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _end_unless_taken_up(self, stream: LiveStream, reason: EndReason) -> None:
        try:
            async with asyncio.timeout(self._resume_seconds):
                await stream.outbox.wait_until_fenced()
        except TimeoutError:
            await self._end(stream, reason)
        finally:
            self._let_go(stream)

    def _let_go(self, stream: LiveStream) -> None:
        self._live_streams.leave(stream)
        forgotten = stream.outbox.forget_unconfirmed(stream.outbox.published)
        self._telemetry.frames("lost", forgotten.lost_frames, reason="superseded")

    async def _end(self, stream: LiveStream, reason: EndReason) -> None:
        """End the run, and try again while it is not certain that it is ended."""
        give_up_at = self._clock.monotonic() + self._expire_seconds
        error: Exception | None = None
        while self._clock.monotonic() < give_up_at:
            try:
                if stream.outbox.failure is not None and await self._reconcile(stream, reason):
                    return
                await self._end_interaction(stream, reason)
            except PublicationEnded as ended:
                if isinstance(ended.failure, Fenced):
                    return
                error = ended
                if isinstance(ended.failure, Vanished):
                    break
            except PublisherError as failure:
                error = failure
            else:
                return
            await asyncio.sleep(AGAIN_SECONDS)
            await self._broker_watch.wait_until_up(max(0, give_up_at - self._clock.monotonic()))
        self._give_up(stream, reason, error)

    async def _reconcile(self, stream: LiveStream, reason: EndReason) -> bool:
        """Go back to where the published stream stands; True if the run has ended there."""
        published = await self._ask_standing(stream)
        self._count_lost(stream, published)
        if published.state is not State.ENDED:
            return False
        # It was written, but perhaps not announced; said again it is only announced.
        ended = InteractionEnded(published.next_position - 1, reason, published.ledger)
        lease, name = stream.outbox.lease, stream.interaction.opening.interaction_id
        async with answered_within():
            await self._publisher.append([Batch(lease, name, ended.position, (ended,), published)])
        return True

    async def _ask_standing(self, stream: LiveStream) -> Account:
        async with answered_within():
            standing = await self._publisher.standing(stream.outbox.lease)
        if isinstance(standing, Fenced):
            stream.outbox.supersede(standing.generation)
            raise PublicationEnded(standing)
        if isinstance(standing, Vanished):
            raise PublicationEnded(standing)
        return standing

    def _give_up(self, stream: LiveStream, reason: EndReason, error: Exception | None) -> None:
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

    def _count_lost(self, stream: LiveStream, published: Account) -> None:
        forgotten = stream.outbox.forget_unconfirmed(published)
        stream.interaction.abandon(published, forgotten.lost_frames, forgotten.lost_bytes)
        self._telemetry.frames("published", forgotten.published_frames)
        self._telemetry.frames("lost", forgotten.lost_frames)
