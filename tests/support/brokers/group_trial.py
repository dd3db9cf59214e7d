"""The trial of a group of Redis servers: one group serves all tests, each trial has a prefix."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from valkey_cluster import ValkeyCluster
from valkey_node import ValkeyNode

from adapters.outbound.redis_streams.destination import RedisStreams
from adapters.outbound.redis_streams.layout import facts_key, stream_key
from application.testing import Trial
from domain.identifiers import StreamKey


class Group(Protocol):
    nodes: list[ValkeyNode]

    @property
    def url(self) -> str: ...
    @property
    def masters(self) -> Sequence[ValkeyNode]: ...
    def wait_until_healthy(self) -> None: ...


class GroupTrial(Trial):
    """A group whose servers can all be stopped, started again, filled up and emptied."""

    examples = 8
    outages = 4
    kills = 40  # of some 400 lines

    def __init__(self, group: Group, confirm: str = "memory") -> None:
        super().__init__()
        self.adapter = RedisStreams()
        self._group = group
        self._confirm = confirm

    @property
    def environment(self) -> Mapping[str, str]:
        return {"REDIS_URL": self._group.url, "REDIS_CONFIRM": self._confirm}

    async def unplug(self) -> None:
        for node in self._group.nodes:
            node.stop()

    async def plug(self) -> None:
        for node in self._group.nodes:
            if not node.is_running:
                node.start()
        self._group.wait_until_healthy()
        self._ask_all("CONFIG", "SET", "maxmemory", "0")

    async def refuse_writes(self) -> None:
        self._ask_all("CONFIG", "SET", "maxmemory", "1")

    async def wipe(self) -> None:
        self._ask_all("FLUSHALL")

    async def evict_entries(self, stream: StreamKey) -> None:
        self._delete(stream_key(self.options.prefix, stream))

    async def evict_head(self, stream: StreamKey) -> None:
        self._delete(facts_key(self.options.prefix, stream))

    def _ask_all(self, *command: str) -> None:
        for node in self._group.masters:
            node.ask(*command)

    def _delete(self, key: str) -> None:
        group = self._group
        node = group.master_of(key) if isinstance(group, ValkeyCluster) else group.masters[0]
        node.ask("DEL", key)
