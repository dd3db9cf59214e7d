"""What the broker knows of a group of workers."""

from typing import Any

import redis
from broker_lab import BrokerLab
from valkey_node import ValkeyNode
from waiting import until

INDEX, GROUP = "rtaa:interactions", "asr"
MOMENT_MS = 400


def workers(server: BrokerLab | ValkeyNode) -> int:
    """Count the workers that ask for calls."""
    with server.client() as broker:
        try:
            return len(broker.xinfo_consumers(INDEX, GROUP))
        except redis.ResponseError:  # there is no index yet
            return 0


async def until_workers_wait(server: BrokerLab | ValkeyNode, count: int) -> None:
    """Wait until so many workers ask for calls."""
    await until(lambda: workers(server) == count)


async def until_workers_ask(server: BrokerLab | ValkeyNode, count: int) -> None:
    """Wait until so many workers have asked for calls within this moment."""

    def asking() -> int:
        with server.client() as broker:
            found: Any = broker.xinfo_consumers(INDEX, GROUP)
        return sum(it["idle"] < MOMENT_MS for it in found)

    await until(lambda: asking() == count)


def pending(server: BrokerLab | ValkeyNode) -> int:
    """Return how many notices no worker has brought to an end; -1: there is no group yet."""
    with server.client() as broker:
        try:
            found: Any = broker.xpending(INDEX, GROUP)
        except redis.ResponseError:
            return -1
    return int(found["pending"])
