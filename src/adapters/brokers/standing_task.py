"""A loop that runs from its first use until it is closed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class StandingTask:
    """Owns the task of a loop; `work` makes its body, which never returns."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def ensure(self) -> None:
        """Start the loop if necessary. Raise the bug that ended it, if one did."""
        if self._is_closed:
            return
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        elif self._task.done():
            self._task.result()

    async def close(self) -> None:
        """End the loop for good."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
