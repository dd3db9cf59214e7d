"""Redis or Valkey, as a worker asks it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError

Client = Redis | RedisCluster
Command = tuple[str | bytes | int, ...]

_LIMITS: dict[str, Any] = {"protocol": 2, "socket_timeout": 5.0, "socket_connect_timeout": 2.0}
_FINAL = ("unknown command", "WRONGTYPE", "syntax error", "wrong number of arguments")


class Broker:
    """Asks a client, which the caller made and closes, or one of its own for a URL."""

    def __init__(self, broker: str | Client) -> None:
        self._own = None
        if isinstance(broker, str):
            broker = self._own = Redis.from_url(broker, retry=Retry(NoBackoff(), 0), **_LIMITS)
        self._client = broker

    async def ask(self, commands: Sequence[Command], allowed: str = "NOGROUP") -> list[Any]:
        """Send commands together, and return the replies, of which some may be `allowed` errors.

        Raises:
            RedisError: the broker is away, or refuses.

        """
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False) if commands else []
        for reply in replies:
            if isinstance(reply, RedisError) and not str(reply).startswith(allowed):
                raise reply
        return replies

    async def uptime(self) -> float:
        """Return for how many seconds it has been running; 0 if it does not tell."""
        with suppress(ResponseError, KeyError):  # it is not allowed; it is a cluster
            return float((await self._client.info("server"))["uptime_in_seconds"])
        return 0.0

    async def disconnect(self) -> None:
        """Close the client, if it is its own; the next question connects."""
        if self._own is not None:
            await self._own.aclose()


def is_final(error: RedisError) -> bool:
    """Tell whether to try once more is of no use."""
    return isinstance(error, NoPermissionError) or str(error).startswith(_FINAL)
