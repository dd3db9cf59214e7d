"""An HTTP connection may be idle for longer than a balancer keeps it."""

import http.client
import socket
import time
from pathlib import Path

import pytest
from running import ServiceProcess

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.server import KEEP_ALIVE_SECONDS

BALANCERS_SECONDS = 60


def test_it_is_longer_than_that_of_balancers() -> None:
    assert KEEP_ALIVE_SECONDS > BALANCERS_SECONDS + 5


@pytest.mark.parametrize("seconds", [1, 60])
def test_an_idle_connection_is_kept_as_long_as_that(
    valkey: EmbeddedValkey, tmp_path: Path, seconds: int
) -> None:
    program = (
        f"import entrypoints.server as server; server.KEEP_ALIVE_SECONDS = {seconds}\n"
        "from entrypoints.cli import main; main()"
    )
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    service = ServiceProcess(
        {**environment, "SUPPORT_EXOTEL": "true", "START_TIMEOUT_SECONDS": "0.5"},
        tmp_path / "log",
        program=["-c", program],
    )
    try:
        service.wait_until_ready()
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        idle: socket.socket = connection.sock
        idle.settimeout(1.5)
        began = time.monotonic()
        if seconds == 1:
            assert idle.recv(1) == b""
            assert time.monotonic() - began > 0.8
        else:
            with pytest.raises(TimeoutError):
                idle.recv(1)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
        connection.close()
    finally:
        service.kill()
