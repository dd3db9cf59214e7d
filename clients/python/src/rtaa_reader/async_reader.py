"""The worker for programs with asyncio."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rtaa_reader.events import Event
from rtaa_reader.worker import Command, Options, Worker

T = TypeVar("T")
Broker = str | Redis | RedisCluster
DEFAULTS = Options()

RETRY_SECONDS = 0.2
_LIMITS: dict[str, Any] = {"protocol": 2, "socket_timeout": 5.0, "socket_connect_timeout": 2.0}
_FINAL = ("unknown command", "WRONGTYPE", "syntax error", "wrong number of arguments")

_log = logging.getLogger("rtaa_reader")


class AsyncReader(Worker, AsyncIterator[Event]):
    """A worker of a group: yields events, in order within a stream, without a repeat.

    `broker` is a URL, or a client with `protocol=2`, which the caller closes: of a cluster, or
    behind Sentinels. Iterating waits for a broker that is away, and does not end before `close`.
    The next event has to be asked for within `lease_seconds`. Other tasks may `commit` meanwhile.

    Raises:
        ValueError: the group's name has other letters than it may.
        RedisError: the broker refuses for good, for instance for a lack of rights.

    """

    def __init__(
        self, broker: Broker, group: str, worker: str, options: Options = DEFAULTS
    ) -> None:
        super().__init__(group, worker, options)
        self._lock, self._is_ours, self.is_closed = asyncio.Lock(), isinstance(broker, str), False
        self._client = _connect(broker) if isinstance(broker, str) else broker

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
        await self._attempt(self._round)
        if task and task.cancelling() > before:  # which `wait_for` in redis-py loses before 3.12
            raise asyncio.CancelledError

    async def commit(self, event: Event) -> bool:
        """Commit an event and all before it of its stream.

        True if the broker has confirmed it. False if another worker has taken the stream over, or
        if the broker is away: then it is tried again as long as the stream stays with this worker.
        """
        return await self._attempt(self._commit, event) or False

    async def lag(self) -> dict[str, float] | None:
        """Return how much of each stream is published and not committed, in ms of speech.

        Of the streams that this worker owns: the entries that are missing, times the last frame.
        None if the broker is away.
        """
        return await self._attempt(self._lag)

    async def close(self) -> None:
        """Commit what is done, let other workers take over at once, and disconnect."""
        if not self.is_closed:
            self.is_closed = True
            await self._attempt(self._leave)
        if self._is_ours:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _attempt(self, step: Callable[..., Awaitable[T]], *of: Event) -> T | None:
        """Take a step; None if the broker is away or refuses for a while, after a pause."""
        try:
            async with self._lock:
                return await step(*of)
        except exceptions.RedisError as error:
            if isinstance(error, exceptions.NoPermissionError) or str(error).startswith(_FINAL):
                raise
            _log.warning("the broker is away: %s", error)
            self._is_stale = True
            if self._is_ours:
                await self._client.aclose()  # the next command connects
            await asyncio.sleep(RETRY_SECONDS)
            return None

    async def _ask(self, commands: Sequence[Command], allowed: str = "NOGROUP") -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False) if commands else []
        for reply in replies:
            if isinstance(reply, exceptions.RedisError) and not str(reply).startswith(allowed):
                raise reply
        return replies

    async def _uptime(self) -> float:
        with suppress(exceptions.ResponseError, KeyError):  # not allowed; of a cluster
            return float((await self._client.info("server"))["uptime_in_seconds"])
        return 0.0


def _connect(url: str) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_LIMITS)
