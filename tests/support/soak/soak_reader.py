"""Reads Redis as a consumer does, with plain redis-py, from the server that has a key now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

import redis
from history import Entry, SentStream
from published import entries
from redis.backoff import NoBackoff
from redis.retry import Retry
from soak_broker import Unreadable
from soak_plan import Plan

PAGE = 5000
INDEX = "rtaa:interactions"
ANSWER_SECONDS = 5.0


class RedisReader:
    """`port_of` tells which server has a key. See `Reader`."""

    def __init__(self, port_of: Callable[[str], int]) -> None:
        self._port_of = port_of
        self._clients: dict[int, redis.Redis] = {}

    def entries(self, stream: SentStream) -> list[Entry]:
        """Return what is published of a stream."""
        with self._at(stream_keys(stream)[0]) as client:
            return entries(client, stream.name, stream.tenant)

    def announced(self, seconds: float) -> set[tuple[str, str]]:
        """Return what the index has."""
        found: set[tuple[str, str]] = set()
        after = f"{round((time() - seconds) * 1_000)}"
        with self._at(INDEX) as client:
            while True:
                page: Any = client.xrange(INDEX, min=after, count=PAGE)
                found |= {(f[b"type"].decode(), f[b"event_id"].decode()) for _, f in page}
                if len(page) < PAGE:
                    return found
                after = f"({page[-1][0].decode()}"

    def delete(self, streams: Sequence[SentStream]) -> None:
        """Delete streams."""
        for stream in streams:
            keys = stream_keys(stream)
            with self._at(keys[0]) as client:
                client.delete(*keys)

    def close(self) -> None:
        """Disconnect."""
        for client in self._clients.values():
            client.close()

    @contextmanager
    def _at(self, key: str) -> Iterator[redis.Redis]:
        try:
            port = self._port_of(key)
            if port not in self._clients:
                self._clients[port] = redis.Redis(
                    port=port, socket_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
                )
            yield self._clients[port]
        except redis.RedisError as error:
            raise Unreadable(str(error)) from error


def stream_keys(stream: SentStream) -> tuple[str, str]:
    """Return the two keys of a stream."""
    slot = f"{{{stream.tenant}/{stream.name}}}"
    return f"rtaa:audio:{slot}", f"rtaa:interaction:{slot}"


def redis_environment(url: str, plan: Plan) -> Mapping[str, str]:
    """Return what a service has to be told."""
    return {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": url,
        "REDIS_CONFIRM": plan.confirm,
    }
