"""Use case: a start failed, and nobody knows whether it was published.

It is said again, by the same owner and only if that owner holds the stream, until there is an
answer. If it was published after all, its run has no sender: it is cut.
"""

import asyncio
import logging

from application.background import Background
from application.broker_watch import BrokerWatch
from application.call_context import call_context
from application.cut_interaction import CutInteraction
from application.live_stream import LiveStreams
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.publisher import StreamPublisher
from application.time_limit import AGAIN_SECONDS, answered_within
from domain.account import Grant
from domain.events import Opening

_log = logging.getLogger(__name__)


class SettleStart:
    """Finds out what became of a start, in the background."""

    def __init__(
        self,
        publisher: StreamPublisher,
        live_streams: LiveStreams,
        cut_interaction: CutInteraction,
        background: Background,
        broker_watch: BrokerWatch,
        clock: Clock,
        *,
        expire_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._live_streams = live_streams
        self._cut_interaction = cut_interaction
        self._background = background
        self._broker_watch = broker_watch
        self._clock = clock
        self._expire_seconds = expire_seconds

    def __call__(self, opening: Opening, owner: str, *, has_token: bool) -> None:
        """Settle the start that `owner` tried, in the background."""
        self._background.own(self._settle(opening, owner, has_token=has_token))

    async def _settle(self, opening: Opening, owner: str, *, has_token: bool) -> None:
        give_up_at = self._clock.monotonic() + self._expire_seconds
        while self._clock.monotonic() < give_up_at:
            await asyncio.sleep(AGAIN_SECONDS)
            await self._broker_watch.wait_until_up(max(0, give_up_at - self._clock.monotonic()))
            try:
                async with answered_within():
                    grant = await self._publisher.begin(
                        opening, owner=owner, has_token=has_token, again=True
                    )
            except PublisherError as error:
                _log.info(
                    "start still in doubt", extra={**call_context(opening), "error": str(error)}
                )
                continue
            if isinstance(grant, Grant):
                stream = self._live_streams.open(opening, owner, grant, has_token=has_token)
                self._cut_interaction(stream)
            return
