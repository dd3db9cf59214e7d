"""Use case: a sender starts a stream, or resumes one."""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from application.backoff import Backoff
from application.call_context import call_context
from application.cut_interaction import CutInteraction
from application.delivery.live_stream import LiveStream
from application.delivery.pending_start import Granted, PendingStart
from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.open_runs import OpenRuns
from application.time_limit import ANSWER_SECONDS, answered_within
from domain.access import Principal
from domain.events import Opening
from domain.head import Access
from domain.starting import StartRequest

FIRST_AGAIN_SECONDS = 0.1
MAX_AGAIN_SECONDS = 0.5
"""How long a start waits before a retry."""

_log = logging.getLogger(__name__)


class RetryBudget:
    """How long a start that cannot be stored is retried: some seconds, unless given up."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._backoff = Backoff(FIRST_AGAIN_SECONDS, MAX_AGAIN_SECONDS)
        self._given_up = asyncio.Event()

    def give_up(self) -> None:
        """Do not retry; an append in flight may still succeed."""
        self._given_up.set()

    async def wait_until_given_up(self) -> None:
        """Wait until there are no more retries."""
        await self._given_up.wait()

    async def is_left(self, spent_seconds: float) -> bool:
        """Wait before the next attempt; return False if there is none."""
        if spent_seconds >= self.seconds:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.note_failure()):
                await self._given_up.wait()
        return not self._given_up.is_set()


class StartInteraction:
    """Checks the sender's rights, and requests the start from the log of the stream."""

    def __init__(
        self,
        open_runs: OpenRuns,
        sender: Sender,
        cut_interaction: CutInteraction,
        clock: Clock,
    ) -> None:
        self._open_runs = open_runs
        self._sender = sender
        self._cut_interaction = cut_interaction
        self._clock = clock

    async def __call__(
        self,
        opening: Opening,
        principal: Principal,
        *,
        requested_at: float | None = None,
        budget: RetryBudget | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Granted:
        """Start the stream; when this returns, the start is stored and announced.

        Returns `AwaitFirstFrame`, without any change, if only the first frame decides whether the
        open run continues. The start was requested at monotonic `requested_at`, or now. A start
        that cannot be stored is retried within the `budget`. Afterwards the caller puts the
        messages held for the start into the log, and calls `LiveStream.note_caught_up`. `context`
        is logged beside the names of the call.

        Raises:
            NotAllowed: the sender may not start this interaction, or not take over its open run.
            Superseded: a start that was requested later has been stored meanwhile.
            PublisherError: the start could not be stored within the budget.

        """
        principal.check_may_start(opening.stream.tenant_id, opening.interaction_id)
        budget = budget or RetryBudget()
        told = {**call_context(opening), **(context or {})}
        began_at = self._clock.monotonic()
        log = self._sender.log_of(opening.stream)
        access = Access.TOKEN if principal.has_token else Access.OPEN
        pending = PendingStart(
            StartRequest(opening, secrets.token_hex(16), access),
            began_at if requested_at is None else requested_at,
            self._on_late,
            log.on_start_given_up,
        )
        log.hold()
        try:
            log.request_start(pending)
            await self._give_heartbeat(opening, budget, began_at, told)
            log.note_start_ready(pending)
            granted = await self._wait(pending, budget, began_at)
        finally:
            pending.give_up()
            log.release()
        if isinstance(granted, LiveStream):
            _log.info(
                "stream started",
                extra={
                    **told,
                    "generation": granted.lease.generation,
                    "resumed": granted.lease.owner != granted.run.name,
                },
            )
        return granted

    async def _give_heartbeat(
        self,
        opening: Opening,
        budget: RetryBudget,
        began_at: float,
        context: Mapping[str, object],
    ) -> None:
        """Register a heartbeat, so that another process ends the run if this one dies."""
        told = ""
        while True:
            try:
                async with answered_within():
                    await self._open_runs.heartbeat([opening.stream])
            except PublisherError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("stream could not be started", extra={**context, "error": told})
                if not await budget.is_left(self._clock.monotonic() - began_at):
                    raise
            else:
                return

    async def _wait(self, pending: PendingStart, budget: RetryBudget, began_at: float) -> Granted:
        """Wait for the outcome within the budget, which includes the current attempt."""
        given_up = asyncio.create_task(budget.wait_until_given_up())
        left = max(ANSWER_SECONDS, budget.seconds - (self._clock.monotonic() - began_at))
        either: list[asyncio.Future[Any]] = [pending.outcome, given_up]
        try:
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()
        if given_up.done():
            await asyncio.wait([pending.outcome], timeout=ANSWER_SECONDS)
        if pending.outcome.done():
            return pending.outcome.result()
        raise BrokerUnavailable("the start could not be stored in time")

    def _on_late(self, live: LiveStream) -> None:
        """Cut a run whose start was stored after it was given up."""
        live.note_caught_up()
        self._cut_interaction(live)
