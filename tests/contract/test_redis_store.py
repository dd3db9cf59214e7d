"""The contracts of the ports, held against Redis: a Valkey of its own for each test."""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from redis import Redis

from adapters.outbound.redis_streams.destination import RedisStreams
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.layout import facts_key, stream_key
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial
from domain.identifiers import StreamKey

pytestmark = pytest.mark.long(50)


class ValkeyTrial(Trial):
    """A server that can be stopped, frozen, filled up, and started with an older file."""

    examples = 15
    kills = 60  # of some 300 lines

    def __init__(self, valkey: EmbeddedValkey, kept: Path) -> None:
        super().__init__()
        self.adapter = RedisStreams()
        self._valkey = valkey
        self._kept = kept

    @property
    def environment(self) -> Mapping[str, str]:
        return {"REDIS_URL": self._valkey.url}

    async def unplug(self) -> None:
        self._flush()
        self._valkey.stop()

    async def plug(self) -> None:
        if self._valkey.is_started:
            self._with(lambda broker: broker.config_set("maxmemory", 0))
        else:
            self._valkey.start()

    async def refuse_writes(self) -> None:
        self._with(lambda broker: broker.config_set("maxmemory", 1))

    async def save(self) -> None:
        self._flush()
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._valkey.directory, self._kept)

    async def roll_back(self) -> None:
        os.kill(self._valkey.pid, signal.SIGKILL)
        self._valkey.stop()
        shutil.rmtree(self._valkey.directory)
        shutil.copytree(self._kept, self._valkey.directory)
        self._valkey.start()

    async def wipe(self) -> None:
        self._with(lambda broker: broker.flushall())

    async def spoil_head(self, stream: StreamKey) -> None:
        key = facts_key(self.options.prefix, stream)
        self._with(lambda broker: (broker.delete(key), broker.set(key, "of another program")))

    async def count_entries(self, stream: StreamKey) -> int:
        with Redis.from_url(self._valkey.url) as broker:
            count = broker.xlen(stream_key(self.options.prefix, stream))
        assert isinstance(count, int)
        return count

    async def evict_entries(self, stream: StreamKey) -> None:
        self._with(lambda broker: broker.delete(stream_key(self.options.prefix, stream)))

    async def evict_head(self, stream: StreamKey) -> None:
        self._with(lambda broker: broker.delete(facts_key(self.options.prefix, stream)))

    def _flush(self) -> None:
        """Have all that was answered in the file: a slow disk keeps what is written for 2 s."""
        self._with(lambda broker: broker.config_set("appendfsync", "always"))
        self._with(lambda broker: broker.set("kit:fsync", "1"))

    def _with(self, act: object) -> None:
        assert callable(act)
        with Redis.from_url(self._valkey.url) as broker:
            act(broker)


class TestRedisStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self, tmp_path: Path) -> Iterator[Trial]:
        with EmbeddedValkey(appendfsync="always") as valkey:
            yield ValkeyTrial(valkey, tmp_path / "kept")
