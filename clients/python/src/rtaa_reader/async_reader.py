"""The worker for programs with asyncio."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from redis.exceptions import RedisError

from rtaa_reader.broker import Broker, Client, is_final
from rtaa_reader.events import Event
from rtaa_reader.worker import Options, Worker

T = TypeVar("T")

DEFAULTS, RETRY_SECONDS = Options(), 0.2

_log = logging.getLogger("rtaa_reader")


class AsyncReader(AsyncIterator[Event], AbstractAsyncContextManager["AsyncReader"]):
    """A worker of a group: yields events, in order within a stream, without a repeat.

    `broker` is a URL, or a client with `protocol=2`, which the caller closes: of a cluster, or
    behind Sentinels. Iterating waits for a broker that is away, and does not end before `close`.
    The next event has to be asked for within `lease_seconds`. Other tasks may `commit` meanwhile.

    Raises:
        ValueError: the group's name has other letters than it may.
        RedisError: the broker refuses for good, for instance for a lack of rights.

    """

    def __init__(
        self, broker: str | Client, group: str, worker: str, options: Options = DEFAULTS
    ) -> None:
        self._broker, self._lock, self.is_closed = Broker(broker), asyncio.Lock(), False
        self._worker = Worker(self._broker, group, worker, options)
        self.pop = self._worker.pop

    async def __anext__(self) -> Event:
        while not self.is_closed:
            if (event := self.pop()) is not None:
                return event
            await self.step()
        raise StopAsyncIteration

    async def step(self) -> None:
        """Renew, commit and read: what was read is for `pop`."""
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await self._attempt(self._worker.round)
        if task and task.cancelling() > before:  # which `wait_for` in redis-py loses before 3.12
            raise asyncio.CancelledError

    async def commit(self, event: Event) -> bool:
        """Commit an event and all before it of its stream.

        True if the broker has confirmed it. False if another worker has taken the stream over, or
        if the broker is away: then it is tried again as long as the stream stays with this worker.
        """
        return await self._attempt(self._worker.commit, event) or False

    async def lag(self) -> dict[str, float] | None:
        """Return how much of each stream is published and not committed, in ms of speech.

        Of the streams that this worker owns: the entries that are missing, times the last frame.
        None if the broker is away.
        """
        return await self._attempt(self._worker.lag)

    async def close(self) -> None:
        """Commit what is done, let other workers take over at once, and disconnect."""
        if not self.is_closed:
            self.is_closed = True
            await self._attempt(self._worker.leave)
        await self._broker.disconnect()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _attempt(self, step: Callable[..., Awaitable[T]], *of: Event) -> T | None:
        """Take a step; None if the broker is away or refuses for a while, after a pause."""
        try:
            async with self._lock:
                return await step(*of)
        except RedisError as error:
            if is_final(error):
                raise
            _log.warning("the broker is away: %s", error)
            self._worker.is_stale = True
            await self._broker.disconnect()
            await asyncio.sleep(RETRY_SECONDS)
            return None
