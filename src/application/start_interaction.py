"""Use case: a sender starts a stream, or goes on with one."""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from application.call_context import call_context
from application.live_stream import LiveStream, LiveStreams
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.publisher import Fenced, StreamPublisher, Undecided
from application.publication import Publication
from application.settle_start import SettleStart
from application.time_limit import AGAIN_SECONDS, answered_within
from domain.access import Sender
from domain.errors import NotAllowed, Superseded
from domain.events import Opening

_log = logging.getLogger(__name__)


class Patience:
    """How long a start that fails is tried again: for some seconds, unless it is given up."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._given_up = asyncio.Event()

    def give_up(self) -> None:
        """Have nothing tried again; what is being tried may still succeed."""
        self._given_up.set()

    async def is_left(self, spent_seconds: float) -> bool:
        """Wait before the next attempt; False when there is to be none."""
        if spent_seconds >= self.seconds:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS):
                await self._given_up.wait()
        return not self._given_up.is_set()


@dataclass(frozen=True, slots=True)
class _Wish:
    """A start that was said, at monotonic `said_at`, and the random token it is tried under.

    `context` tells in the log which call it is and where its sender is.
    """

    opening: Opening
    sender: Sender
    owner: str
    said_at: float
    context: Mapping[str, object]


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
        self,
        opening: Opening,
        sender: Sender,
        *,
        said_at: float | None = None,
        patience: Patience | None = None,
        context: Mapping[str, object] | None = None,
    ) -> LiveStream | Undecided:
        """Start the stream; its start is published and announced when this returns.

        `Undecided` when it cannot be told yet whether its open run goes on: nothing has changed.
        It was said at monotonic `said_at`, or now. A start that fails is tried again while there is
        `patience`, always by the same owner: an attempt that was given up and arrives late changes
        nothing then. `context` is logged beside the names of the call: where its sender is.

        Raises:
            NotAllowed: the sender may not start this interaction, or not take over its open run.
            Superseded: while it waited somebody has begun the stream who came later.
            PublisherError: the start could not be published, or nobody knows.

        """
        sender.check_may_start(opening.stream.tenant_id, opening.interaction_id)
        now = self._clock.monotonic()
        wish = _Wish(
            opening,
            sender,
            secrets.token_hex(16),
            now if said_at is None else said_at,
            {**call_context(opening), **(context or {})},
        )
        try:
            return await self._insist(wish, patience or Patience())
        except (asyncio.CancelledError, PublisherError):
            self._settle_start(opening, wish.owner, has_token=sender.has_token)
            raise

    async def _insist(self, wish: _Wish, patience: Patience) -> LiveStream | Undecided:
        """Try until it succeeds, or there is no patience left."""
        began_at = self._clock.monotonic()
        told = ""
        while True:
            try:
                return await self._try(wish)
            except PublisherError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("stream could not be started", extra={**wish.context, "error": told})
                if not await patience.is_left(self._clock.monotonic() - began_at):
                    raise

    async def _try(self, wish: _Wish) -> LiveStream | Undecided:
        """Hold off an older sender of this process, so that it is not heard while it loses."""
        older = self._live_streams.get(wish.opening.stream)
        if older is None:
            return await self._begin(wish)
        if older.has_token and not older.is_given_up and not wish.sender.has_token:
            raise NotAllowed("the open run was begun with a token")
        older.outbox.hold()
        try:
            return await self._begin(wish)
        finally:
            older.outbox.release()

    async def _begin(self, wish: _Wish) -> LiveStream | Undecided:
        """Begin once the destination has all that this process holds of the stream."""
        opening, owner, has_token = wish.opening, wish.owner, wish.sender.has_token
        async with answered_within():
            await self._open_runs.tend([opening.stream])
            epoch = self._publisher.epoch
            await self._publication.flush_stream(opening.stream)
            grant = await self._publisher.begin(
                opening,
                owner=owner,
                has_token=has_token,
                waited_seconds=self._clock.monotonic() - wish.said_at,
                epoch=epoch,
            )
        if isinstance(grant, Undecided):
            return grant
        if isinstance(grant, Fenced):
            raise Superseded("a newer connection has begun the stream")
        _log.info(
            "stream started",
            extra={
                **wish.context,
                "generation": grant.generation,
                "resumed": grant.resumed,
            },
        )
        return self._live_streams.open(opening, owner, grant, has_token=has_token)
