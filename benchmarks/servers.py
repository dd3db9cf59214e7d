"""The programs that are compared, each started as a process of its own."""

import http.client
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine import Cores, pin
from benchmarks.plan import FLOOR, LINGER_MS, LINGERING, OBVIOUS, OURS
from benchmarks.published import OBVIOUS_LAYOUT, OUR_LAYOUT, Layout
from entrypoints.configuration import known_names
from entrypoints.registry import destination_adapters

READY_SECONDS = 20.0
STOP_SECONDS = 15.0

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ROOT / ".venv" / "bench"
"""What only the compared programs need; not in our environment, where it could change us."""

_POLL_SECONDS = 0.05
_LOG_END_CHARACTERS = 2_000

_ADAPTER = "redis_streams"

_VARIABLES = known_names(destination_adapters()[_ADAPTER])


class ServerFailed(Exception):
    """A program did not start, or ended by itself; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a program is started; None as layout: it publishes nothing.

    It is told HOST, PORT and REDIS_URL, and what is in `environment`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    layout: Layout | None
    has_health: bool = False


_SERVICE = Program(
    OURS,
    (str(Path(sysconfig.get_path("scripts")) / "rtaa-ingest"), "serve"),
    {
        "PUBSUB_ADAPTER": _ADAPTER,
        "SUPPORT_EXOTEL": "true",
        "MAX_STREAMS": "4000",
        "REWIND_SECONDS": "1",
        "LOG_LEVEL": "warning",
    },
    OUR_LAYOUT,
    has_health=True,
)

PROGRAMS = {
    program.name: program
    for program in (
        _SERVICE,
        replace(
            _SERVICE,
            name=LINGERING,
            environment={**_SERVICE.environment, "PUBLISH_LINGER_MS": str(LINGER_MS)},
        ),
        Program(FLOOR, (sys.executable, "-m", "benchmarks.programs.drop_litestar"), {}, None),
        Program(
            OBVIOUS,
            (sys.executable, "-m", "benchmarks.programs.fastapi_obvious"),
            {"PYTHONPATH": str(LIBRARIES.relative_to(ROOT))},
            OBVIOUS_LAYOUT,
        ),
    )
}
"""By name."""


@dataclass(frozen=True, slots=True)
class Server:
    """A program that runs: its process and its port on 127.0.0.1."""

    pid: int
    port: int


@contextmanager
def running(program: Program, redis_url: str, log_path: Path, cores: Cores) -> Iterator[Server]:
    """Run a program until the context ends, or this process does, however that dies.

    Of our own environment it gets nothing that configures the service.

    Raises:
        ServerFailed: it was not ready within `READY_SECONDS`, or had ended by itself.

    """
    port = _free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in _VARIABLES
    }
    environment |= {"HOST": "127.0.0.1", "PORT": str(port), "REDIS_URL": redis_url}
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own words
            program.command,
            env={**environment, **program.environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    reaper = _reap_with_us(process.pid)
    try:
        pin(process.pid, cores.server)
        _wait_until_ready(process, port, program, log_path)
        yield Server(process.pid, port)
        if process.poll() is not None:
            raise ServerFailed(f"{program.name} ended by itself:\n{_end_of_log(log_path)}")
    finally:
        _stop(process)
        reaper.kill()
        reaper.communicate()


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, program: Program, log_path: Path
) -> None:
    ready = (200,) if program.has_health else (200, 404)
    give_up_at = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            break
        if _status(port) in ready:
            return
        time.sleep(_POLL_SECONDS)
    raise ServerFailed(f"{program.name} was not ready:\n{_end_of_log(log_path)}")


def _status(port: int) -> int | None:
    """Return how the server answers; None if it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _end_of_log(log_path: Path) -> str:
    return log_path.read_text(errors="replace")[-_LOG_END_CHARACTERS:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def _reap_with_us(pid: int) -> subprocess.Popen[bytes]:
    """Start a shell that ends `pid` when this process does: its pipe closes."""
    return subprocess.Popen(  # noqa: S603  # fixed words and a number
        ["/bin/sh", "-c", 'read _; kill "$1"', "reaper", str(pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
