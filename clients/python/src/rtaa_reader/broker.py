"""The connection of a worker to Redis or Valkey."""

import re
from collections.abc import Sequence
from contextlib import suppress
from random import sample
from typing import Any
from urllib.parse import unquote

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

Command = tuple[str | bytes | int, ...]

# Without `socket_timeout`: with that redis-py loses a cancellation before Python 3.12.
_OPTIONS: dict[str, Any] = {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": 2.0}
_SEVERAL = re.compile(r"(?i)(rediss?)\+(sentinel|cluster)://(.*@)?([^/?]*)/?([^/?]*)(.*)")
# The last is how Redis 6 tells that a script lacks a right.
FINAL = re.compile("unknown command|WRONGTYPE|syntax error|wrong number of|ACL failure|can't run")


class Broker:
    """What a URL names: one server, the primary that Sentinels name, or a cluster."""

    def __init__(self, url: str) -> None:
        self._url, self._clients = url, _clients(url)

    async def ask(self, commands: Sequence[Command], spared: str = "BUSYGROUP") -> list[Any]:
        """Send commands together, and return the replies.

        Raises:
            RedisError: the broker is away, or refuses; a `spared` refusal gives None.

        """
        pipeline = self._clients[0].pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, RedisError) and not str(reply).startswith(spared):
                raise reply
        return [None if isinstance(it, RedisError) else it for it in replies]

    async def uptime(self) -> float:
        """Return the broker's uptime in seconds; 0 if it is unknown."""
        with suppress(ResponseError, KeyError):  # it is not allowed; it is a cluster
            return float((await self._clients[0].info("server"))["uptime_in_seconds"])
        return 0.0

    async def disconnect(self) -> None:
        """Close all connections; the next command opens new ones."""
        clients, self._clients = self._clients, _clients(self._url)
        for client in clients:
            await client.aclose()


def _clients(url: str) -> list[Redis | RedisCluster]:
    """Return the client for a URL, followed by those for its Sentinels.

    Hosts are tried in random order, so that a frozen one is not always the first.
    """
    found, once = _SEVERAL.fullmatch(url), {**_OPTIONS, "retry": Retry(NoBackoff(), 0)}
    if found is None:
        return [Redis.from_url(url, **once)]
    scheme, kind, login, hosts, name, rest = found.groups("")
    urls = [f"{scheme}://{login}{host}{rest}" for host in hosts.split(",")]
    places = [parse_url(it) for it in sample(urls, len(urls))]
    if kind.lower() == "cluster":
        nodes = [ClusterNode(it["host"], it.get("port", 6379)) for it in places]
        return [RedisCluster.from_url(urls[0], startup_nodes=nodes, **_OPTIONS)]
    server: dict[str, Any] = {**places[0], **once}
    server["ssl"] = server.pop("connection_class", None) is not None
    their = {key: server.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    if server.pop("sentinel_tls", "yes" if server["ssl"] else "no") == "yes":
        their |= {key: it for key, it in server.items() if key.startswith("ssl_")} | {"ssl": True}
    sentinels = [(it["host"], it.get("port", 26379)) for it in places]
    group: Any = Sentinel(sentinels, sentinel_kwargs=once | their | {"socket_timeout": 1.0})  # type: ignore[no-untyped-call]
    return [group.master_for(unquote(name), **server), *group.sentinels]
