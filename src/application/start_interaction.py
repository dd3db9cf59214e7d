"""Use case: a sender starts a stream, or goes on with one."""

import asyncio
import logging
import secrets

from application.live_stream import LiveStream, LiveStreams
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import Lease, StreamPublisher
from application.publication import Publication
from domain.access import Sender
from domain.events import Opening
from domain.interaction import Interaction

BEGIN_SECONDS = 5.0
"""How long the publisher may take to record a start."""

_log = logging.getLogger(__name__)


class StartInteraction:
    """Checks what the sender may do, takes the next generation and readies the stream."""

    def __init__(
        self,
        publisher: StreamPublisher,
        publication: Publication,
        live_streams: LiveStreams,
    ) -> None:
        self._publisher = publisher
        self._publication = publication
        self._live_streams = live_streams

    async def __call__(self, opening: Opening, sender: Sender) -> LiveStream:
        """Start the stream; its start is published and announced when this returns.

        Raises:
            NotAllowed: the sender may not start this interaction, or not take over its open run.
            PublisherError: the start could not be published.

        """
        sender.check_may_start(opening.stream.tenant_id, opening.interaction_id)
        owner = secrets.token_hex(16)
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                await self._flush_older_generation(opening)
                grant = await self._publisher.begin(
                    opening, owner=owner, has_token=sender.has_token
                )
        except TimeoutError as timeout:
            raise BrokerUnavailable(f"no answer within {BEGIN_SECONDS:g} s") from timeout
        interaction = Interaction(opening)
        interaction.start(grant)
        lease = Lease(opening.stream, grant.generation, owner)
        stream = LiveStream(interaction, self._publication.outbox(interaction, lease))
        self._live_streams.enter(stream)
        _log.info(
            "stream started",
            extra={
                "stream": str(opening.stream),
                "interaction_id": opening.interaction_id,
                "dialect": opening.dialect,
                "generation": grant.generation,
                "resumed": grant.resumed,
            },
        )
        return stream

    async def _flush_older_generation(self, opening: Opening) -> None:
        older = self._live_streams.get(opening.stream)
        if older is not None:
            await older.outbox.wait_until_empty()
