"""A task that tries once to start a stream, and reports the outcome to the session."""

import asyncio
from collections.abc import Callable, Mapping

from application.delivery.pending_start import Granted
from application.start_interaction import RetryBudget, StartInteraction
from domain.access import Principal
from domain.events import Opening

Settled = Granted | Exception
"""The stream, or `AwaitFirstFrame` if the first frame has to decide, or the error."""


class StartAttempt:
    """Runs the use case; `on_settled` is called once, unless the attempt is cancelled."""

    def __init__(
        self,
        start: StartInteraction,
        opening: Opening,
        principal: Principal,
        *,
        requested_at: float,
        budget: RetryBudget,
        context: Mapping[str, object],
        on_settled: Callable[[Settled], None],
    ) -> None:
        self._budget = budget
        self._on_settled = on_settled
        self._task = asyncio.create_task(
            start(opening, principal, requested_at=requested_at, budget=budget, context=context)
        )
        self._task.add_done_callback(self._settle)

    async def wait(self) -> None:
        """Wait until the attempt is over."""
        await asyncio.wait([self._task])

    def give_up(self) -> None:
        """Do not retry; an append in flight may still succeed."""
        self._budget.give_up()

    def cancel(self) -> None:
        """Cancel the attempt; `on_settled` will not be called."""
        self._task.cancel()

    def _settle(self, task: asyncio.Task[Granted]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._on_settled(task.result())
        elif isinstance(error, Exception):
            self._on_settled(error)
