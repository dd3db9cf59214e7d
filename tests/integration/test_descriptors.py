"""A process that may hold few sockets, and more peers than that."""

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from published import Broker
from raw_peer import LIMIT_SECONDS
from running import ServiceProcess
from steady_calls import ExostreamkitCall, steady_calls

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.listening import bind, find_endpoints

DESCRIPTORS = 60
PEERS = 100
CROWDED_SECONDS = 3.0
MAX_LOG_LINES = 50


class ConfinedService(ServiceProcess):
    """May hold so few descriptors; it cannot raise that by itself."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        confined = f'ulimit -n {DESCRIPTORS}; exec "$@"'
        with self.log.open("ab") as lines:
            return subprocess.Popen(
                ["sh", "-c", confined, "sh", sys.executable, "-m", "entrypoints.program", "serve"],
                env={**os.environ, **self._environment},
                stdout=lines,
                stderr=lines,
            )


@pytest.fixture
def confined(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[ServiceProcess]:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "START_TIMEOUT_SECONDS": "60",  # no sender is sent away by it
    }
    service = ConfinedService(environment, tmp_path / "log")
    try:
        yield service.wait_until_ready()
    finally:
        if service.process.poll() is None:
            service.kill()


def log_lines(service: ServiceProcess) -> int:
    return len(service.log.read_bytes().splitlines())


async def test_without_descriptors_the_loop_complains_once_a_turn() -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    (listening,) = bind(find_endpoints("127.0.0.1", {"PORT": 0}))
    server = await loop.create_server(asyncio.Protocol, sock=listening, backlog=2_048)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as peer:
        peer.setblocking(False)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            await loop.sock_connect(peer, listening.getsockname())
            while not complaints:
                await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server.close()
    (complaint,) = complaints
    assert complaint["exception"].errno == errno.EMFILE


async def test_without_descriptors_calls_continue_new_ones_wait_and_the_log_stays_short(
    confined: ServiceProcess, broker: Broker, name: str
) -> None:
    async with steady_calls(confined.url, name) as calls:
        first, _ = calls
        await first.hear_ack(9)
        before = log_lines(confined)
        peers = [await asyncio.open_connection("127.0.0.1", confined.port) for _ in range(PEERS)]
        late = asyncio.create_task(ExostreamkitCall.dial(confined.url, f"{name}-late"))
        spoken = first.frames
        await asyncio.sleep(CROWDED_SECONDS)  # what is counted is lines in a time
        await first.hear_ack(spoken + 9)
        assert not late.done()
        grown = log_lines(confined) - before
        for _, writer in peers:
            writer.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            new = [await late, await ExostreamkitCall.dial(confined.url, f"{name}-later")]
            for call in new:
                await call.finish()
    for each in [*calls, *new]:
        each.assert_whole(broker)
    assert 0 < grown < MAX_LOG_LINES
    assert log_lines(confined) - before < MAX_LOG_LINES
    assert b"Traceback" not in confined.log.read_bytes()
