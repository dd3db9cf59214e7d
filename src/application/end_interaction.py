"""Use case: a run ends because somebody says so."""

import logging

from application.live_stream import LiveStream, LiveStreams
from application.outbox import Failure
from application.ports.clock import Clock
from domain.events import EndReason
from domain.ledger import Ledger

_log = logging.getLogger(__name__)


class PublicationEnded(Exception):
    """The stream cannot be published any further; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"publication ended: {failure}")
        self.failure = failure


class EndInteraction:
    """Ends a run: exactly one end is published, after everything before it."""

    def __init__(self, clock: Clock, live_streams: LiveStreams) -> None:
        self._clock = clock
        self._live_streams = live_streams

    async def __call__(self, stream: LiveStream, reason: EndReason) -> Ledger:
        """Publish the end and return the ledger in it, once it is confirmed.

        Raises:
            PublicationEnded: the end is not published, or nobody knows.

        """
        ended = stream.interaction.end(reason)
        stream.outbox.put((ended,), self._clock.monotonic())
        await stream.outbox.wait_until_empty()
        if stream.outbox.failure is not None:
            raise PublicationEnded(stream.outbox.failure)
        self._live_streams.leave(stream)
        _log.info(
            "stream ended",
            extra={
                "stream": str(stream.key),
                "generation": stream.interaction.generation,
                "reason": reason.value,
                "ledger": ended.ledger.counters(),
            },
        )
        return ended.ledger
