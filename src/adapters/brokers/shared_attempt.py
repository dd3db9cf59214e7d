"""An attempt that is shared by all tasks that need its result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from application.ports.errors import BrokerUnavailable

CLOSED = "closed by us"

_T = TypeVar("_T")


class SharedAttempt(Generic[_T]):
    """Makes an attempt on demand, one at a time; a cancelled waiter does not end it."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._make = make
        self._task: asyncio.Task[_T] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is in progress."""
        return self._task is None

    async def result(self) -> _T:
        """Wait for the attempt in progress, or for a new one.

        Raises:
            BrokerUnavailable: `close` has ended it; or what the attempt raises.

        """
        task = self._task
        if task is None:
            task = self._task = asyncio.create_task(self._make())
            task.add_done_callback(self._note_end)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # not who waits here, but the attempt
                raise BrokerUnavailable(CLOSED) from None
            raise

    async def close(self) -> None:
        """End the attempt in progress."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _note_end(self, task: "asyncio.Task[_T]") -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # who waited has it, if it is one
