"""The contracts of the ports, held against NATS JetStream: a server of its own for each test."""

import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from nats_client import NatsClient, needs_nats_server

from adapters.outbound.nats_jetstream.destination import NatsJetStream
from adapters.outbound.nats_jetstream.embedded import EmbeddedNats
from adapters.outbound.nats_jetstream.layout import Layout
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial

pytestmark = [pytest.mark.long(60), needs_nats_server]


class JetStreamTrial(Trial):
    """A server that can be stopped, filled up, emptied, and started with older files."""

    examples = 15
    kills = 60  # of some 400 lines

    def __init__(self, server: EmbeddedNats, kept: Path) -> None:
        super().__init__()
        self.adapter = NatsJetStream()
        self._server = server
        self._kept = kept
        self._layout = Layout(self.options.prefix)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"NATS_URL": self._server.url}

    async def unplug(self) -> None:
        self._server.stop()

    async def plug(self) -> None:
        if self._server.is_started:
            self._limit(-1)
        else:
            self._server.start()

    async def refuse_writes(self) -> None:
        self._limit(1)

    async def save(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._server.directory, self._kept)

    async def roll_back(self) -> None:
        self._server.stop(signal.SIGKILL)
        shutil.rmtree(self._server.directory)
        shutil.copytree(self._kept, self._server.directory)
        self._server.start()

    async def wipe(self) -> None:
        with NatsClient(self._server.port) as client:
            for name in (self._layout.audio, self._layout.open):
                client.request(f"$JS.API.STREAM.DELETE.{name}")

    def _limit(self, max_bytes: int) -> None:
        """Let both streams be full, or not: with `discard: new` they refuse then."""
        with NatsClient(self._server.port) as client:
            for name in (self._layout.audio, self._layout.open):
                told = client.request(f"$JS.API.STREAM.INFO.{name}")
                if "config" in told:
                    config = told["config"] | {"max_bytes": max_bytes}
                    client.request(f"$JS.API.STREAM.UPDATE.{name}", config)


class TestJetStreamStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self, tmp_path: Path) -> Iterator[Trial]:
        with EmbeddedNats() as server:
            yield JetStreamTrial(server, tmp_path / "kept")
