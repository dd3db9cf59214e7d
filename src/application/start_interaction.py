"""Use case: a sender starts a stream, or goes on with one."""

import asyncio
import logging
import secrets

from application.live_stream import LiveStream, LiveStreams
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.publisher import Fenced, StreamPublisher, Undecided
from application.publication import Publication
from application.settle_start import SettleStart
from application.time_limit import AGAIN_SECONDS, answered_within
from domain.access import Sender
from domain.errors import NotAllowed
from domain.events import Opening

_log = logging.getLogger(__name__)


class StartInteraction:
    """Checks what the sender may do, takes the next generation and readies the stream."""

    def __init__(
        self,
        publisher: StreamPublisher,
        open_runs: OpenRuns,
        live_streams: LiveStreams,
        settle_start: SettleStart,
        publication: Publication,
        clock: Clock,
    ) -> None:
        self._publisher = publisher
        self._open_runs = open_runs
        self._live_streams = live_streams
        self._settle_start = settle_start
        self._publication = publication
        self._clock = clock

    async def __call__(
        self, opening: Opening, sender: Sender, *, patience_seconds: float = 0.0
    ) -> LiveStream | Undecided:
        """Start the stream; its start is published and announced when this returns.

        `Undecided` when it cannot be told yet whether its open run goes on: nothing has changed.
        A start that fails is tried again for `patience_seconds`, always by the same owner: an
        attempt that was given up and arrives late changes nothing then.

        Raises:
            NotAllowed: the sender may not start this interaction, or not take over its open run.
            PublisherError: the start could not be published, or nobody knows.

        """
        sender.check_may_start(opening.stream.tenant_id, opening.interaction_id)
        owner = secrets.token_hex(16)
        give_up_at = self._clock.monotonic() + patience_seconds
        told = ""
        while True:
            try:
                return await self._try(opening, sender, owner)
            except asyncio.CancelledError:
                self._settle_start(opening, owner, has_token=sender.has_token)
                raise
            except PublisherError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error(
                        "stream could not be started",
                        extra={"stream": str(opening.stream), "error": told},
                    )
                if self._clock.monotonic() >= give_up_at:
                    self._settle_start(opening, owner, has_token=sender.has_token)
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def _try(self, opening: Opening, sender: Sender, owner: str) -> LiveStream | Undecided:
        """Hold off an older sender of this process, so that it is not heard while it loses."""
        older = self._live_streams.get(opening.stream)
        if older is None:
            return await self._begin(opening, sender, owner)
        if older.has_token and not older.is_given_up and not sender.has_token:
            raise NotAllowed("the open run was begun with a token")
        older.outbox.hold()
        try:
            return await self._begin(opening, sender, owner)
        finally:
            older.outbox.release()

    async def _begin(self, opening: Opening, sender: Sender, owner: str) -> LiveStream | Undecided:
        """Begin once the destination has all that this process holds of the stream."""
        async with answered_within():
            await self._open_runs.tend([opening.stream])
            epoch = self._publisher.epoch
            await self._publication.flush_stream(opening.stream)
            grant = await self._publisher.begin(
                opening, owner=owner, has_token=sender.has_token, epoch=epoch
            )
        if isinstance(grant, Undecided):
            return grant
        if isinstance(grant, Fenced):
            raise AssertionError("only a start said again can be fenced")  # noqa: TRY004  # a bug
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
        return self._live_streams.open(opening, owner, grant, has_token=sender.has_token)
