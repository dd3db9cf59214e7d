"""Standard error that is full, gone, closed or not read: calls, acks and /health continue."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from published import Broker, audio
from running import Caller, ServiceProcess, basic, pcm
from waiting import until
from websockets.exceptions import InvalidStatus
from worker_processes import children

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

pytestmark = pytest.mark.long(20)

StartWith = Callable[..., ServiceProcess]


@pytest.fixture
def start_with(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[StartWith]:
    """Start a service whose standard error is a descriptor; kill what is left of it."""
    with ExitStack() as started:

        def start(
            stderr: int | None, *arguments: str, program: Any = None, **variables: str
        ) -> ServiceProcess:
            environment = {
                "PUBSUB_ADAPTER": "redis_streams",
                "REDIS_URL": valkey.url,
                "SUPPORT_EXOTEL": "true",
                "EXOTEL_USERNAME": "key",
                "EXOTEL_PASSWORD": "word",
                "LOG_LEVEL": "debug",
                "ACK_INTERVAL": "1",
                **variables,
            }
            named = {} if program is None else {"program": program}
            service = ServiceProcess(
                environment, tmp_path / "log", arguments, stderr=stderr, **named
            )
            started.callback(kill_all, service)
            return service.wait_until_ready()

        yield start


def kill_all(service: ServiceProcess) -> None:
    pids = children(service)
    service.kill()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that cannot take another byte, read by no process."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for size in (65_536, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * size)
    os.set_blocking(writing, True)
    yield reading, writing
    os.close(reading)
    os.close(writing)


async def use(service: ServiceProcess, broker: Broker, name: str, calls: int = 4) -> None:
    """Refused handshakes and whole calls, as ever."""
    for number in range(calls):
        for _ in range(5):
            with pytest.raises(InvalidStatus):
                await Caller.dial(service.url, basic("key", "wrong"))
        caller = await Caller.dial(service.url, basic("key", "word"))
        await caller.start(f"{name}-{number}")
        await caller.speak(*range(20))
        await caller.hear_ack(19)
        assert (await caller.end())["published"] == 20
        assert audio(broker, f"{name}-{number}") == [(n, pcm(n)) for n in range(20)]
        assert (await asyncio.to_thread(service.get, "/health"))[0] == 200


async def drained(service: ServiceProcess) -> int:
    service.process.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(service.process.wait, 15)


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
async def test_a_full_pipe_that_is_not_read(
    start_with: StartWith,
    full_pipe: tuple[int, int],
    broker: Broker,
    name: str,
    arguments: tuple[str, ...],
) -> None:
    service = start_with(full_pipe[1], *arguments)
    await use(service, broker, f"{name}-{len(arguments)}")
    assert await drained(service) == 0


async def test_a_pipe_that_is_read_again_shows_what_waited(
    start_with: StartWith, full_pipe: tuple[int, int], broker: Broker, name: str
) -> None:
    service = start_with(full_pipe[1])
    await use(service, broker, name)
    text = ""

    def reads_end() -> bool:
        nonlocal text
        text += os.read(full_pipe[0], 65_536).decode()
        return text.count('"stream ended"') >= 4

    await until(reads_end)
    lines = [json.loads(line) for line in text.lstrip("x").splitlines()]
    assert len([line for line in lines if line["event"] == "stream ended"]) == 4
    times = [line["timestamp"] for line in lines]
    assert times == sorted(times)
    assert await drained(service) == 0


async def test_a_status_that_is_not_0_stays_so(
    start_with: StartWith, full_pipe: tuple[int, int]
) -> None:
    service = start_with(full_pipe[1], DRAIN_SECONDS="60")
    caller = await Caller.dial(service.url, basic("key", "word"))  # it says nothing: a drain waits
    service.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(2.1)
    assert service.is_draining()
    assert await drained(service) == 70
    assert await caller.closed() in (None, 1012)


async def test_a_pipe_whose_reader_is_gone(
    start_with: StartWith, broker: Broker, name: str
) -> None:
    reading, writing = os.pipe()
    service = start_with(writing)
    os.close(writing)
    os.close(reading)
    await use(service, broker, name)
    assert await asyncio.to_thread(service.metric, "ingest_log_lines_dropped_total") >= 4
    assert await drained(service) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
async def test_a_disk_that_is_full(start_with: StartWith, broker: Broker, name: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    service = start_with(full)
    os.close(full)
    await use(service, broker, name)
    assert await asyncio.to_thread(service.metric, "ingest_log_lines_dropped_total") >= 4
    assert await drained(service) == 0


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
async def test_a_standard_error_that_is_closed_is_no_socket_of_ours(
    start_with: StartWith, broker: Broker, name: str, arguments: tuple[str, ...]
) -> None:
    without = (
        "import os, sys; os.close(2);"
        "os.execv(sys.executable, [sys.executable, '-m', 'entrypoints.program', *sys.argv[1:]])"
    )
    service = start_with(None, *arguments, program=["-c", without])
    for pid in (service.process.pid, *children(service)):
        assert Path(f"/proc/{pid}/fd/2").readlink() == Path(os.devnull)
    await use(service, broker, f"{name}-{len(arguments)}")
    assert await drained(service) == 0
