"""The service in a separate process, as an operator would run it."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from entrypoints.configuration import known_names
from entrypoints.registry import destination_adapters

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


class ServiceFailed(Exception):
    """The service did not become ready; the message has the last answer."""


@contextmanager
def running_service(settings: Mapping[str, str], log_path: Path) -> Iterator[str]:
    """Run `serve` on a free port of 127.0.0.1 and yield `host:port` once it is ready.

    Its environment is `settings`, including PUBSUB_ADAPTER, without that of this process. It ends
    with the context, or with this process, however that dies.

    Raises:
        ServiceFailed: it ended, or was not ready within `READY_SECONDS`.

    """
    port = _free_port()
    ours = known_names(destination_adapters()[settings["PUBSUB_ADAPTER"]])
    inherited = {
        name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in ours
    }
    with log_path.open("wb") as log:
        environment = {**inherited, **settings, "HOST": "127.0.0.1", "PORT": str(port)}
        process = _start(environment, log)
        reaper = _reap_with_us(process.pid)
        try:
            _wait_until_ready(process, port)
            yield f"127.0.0.1:{port}"
        finally:
            _stop(process)
            reaper.kill()
            reaper.communicate()


def _start(environment: Mapping[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start it in a new session, so that only this process gets a Ctrl-C of the terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "entrypoints.program", "serve"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _reap_with_us(pid: int) -> subprocess.Popen[bytes]:
    """Start a shell that ends `pid` when this process does: its pipe closes."""
    return subprocess.Popen(  # noqa: S603  # our own words and a number
        ["/bin/sh", "-c", 'read _; kill "$1"', "reaper", str(pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    give_up_at = time.monotonic() + READY_SECONDS
    seen = "no answer"
    while time.monotonic() < give_up_at:
        if (status := process.poll()) is not None:
            raise ServiceFailed(f"the service ended with status {status} before it was ready")
        seen = _ask_ready(port)
        if seen == "200":
            return
        time.sleep(POLL_SECONDS)
    raise ServiceFailed(f"the service was not ready after {READY_SECONDS:g} s: {seen}")


def _ask_ready(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
