"""However many signals one request to stop arrives as, calls come to their own end."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from agentstream_sender import AgentstreamSender
from published import Broker, audio, entries
from running import ServiceProcess, pcm
from waiting import freeze_process, until, wait_until
from websockets.exceptions import ConnectionClosed
from worker_processes import children, is_alive, listens, worker_of

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

pytestmark = pytest.mark.long(30)

CALLS = 20
FAILED, INTERRUPTED = 70, 130


async def carriers(service: ServiceProcess, name: str) -> list[AgentstreamSender]:
    """Begin calls, each of which has sent a frame."""
    begun = []
    for number in range(CALLS):
        begun.append(await AgentstreamSender.dial(service.url))
        await begun[-1].begin(f"{name}-{number}")
        await begun[-1].send_chunks(f"{name}-{number}", 1)
    return begun


async def continue_and_stop(begun: list[AgentstreamSender], broker: Broker, name: str) -> None:
    """Every call continues, and ends by its own `stop`."""
    for number, carrier in enumerate(begun):
        stream = f"{name}-{number}"
        await carrier.send_chunks(stream, 2)
        await until(lambda stream=stream: len(audio(broker, stream)) == 2)  # type: ignore[misc]
        assert await carrier.stop(stream) == 1000
        assert audio(broker, stream) == [(1, pcm(1)), (2, pcm(2))]
        ended = entries(broker, stream)[-1][1]
        assert (ended["type"], ended["data"]["reason"]) == ("ended", "callended")


def signal_group(service: ServiceProcess, number: int) -> None:
    """As a service manager does: to every process of the service."""
    for pid in (service.process.pid, *children(service)):
        os.kill(pid, number)


def signal_group_twice(service: ServiceProcess, number: int) -> None:
    signal_group(service, number)
    time.sleep(0.02)
    signal_group(service, number)


def signal_parent_twice(service: ServiceProcess, number: int) -> None:
    os.kill(service.process.pid, number)
    time.sleep(0.02)
    os.kill(service.process.pid, number)


def signal_children(service: ServiceProcess, number: int) -> None:
    for pid in children(service):
        os.kill(pid, number)
    os.kill(service.process.pid, number)


def signal_one_worker(service: ServiceProcess, number: int) -> None:
    os.kill(children(service)[0], number)


async def exit_status(service: ServiceProcess, seconds: float = 20) -> int:
    return await asyncio.to_thread(service.process.wait, seconds)


@pytest.mark.parametrize(
    "send",
    [signal_group, signal_group_twice, signal_parent_twice, signal_children, signal_one_worker],
)
async def test_sigterm_to_any_of_the_processes_is_one_drain(
    workers: Any, broker: Broker, name: str, send: Callable[[ServiceProcess, int], None]
) -> None:
    service = workers(DRAIN_SECONDS="60")
    stem = f"{name}-{send.__name__}"
    begun = await carriers(service, stem)
    assert len({worker_of(carrier, service) for carrier in begun}) == 2
    send(service, signal.SIGTERM)
    await until(service.is_draining)
    await continue_and_stop(begun, broker, stem)
    assert await exit_status(service) == 0


@pytest.mark.parametrize(
    ("number", "workers", "status"),
    [(signal.SIGTERM, 1, 0), (signal.SIGTERM, 2, 0), (signal.SIGINT, 1, INTERRUPTED)],
)
async def test_a_signal_to_all_processes_leaves_the_embedded_broker_to_the_calls(
    tmp_path: Path, name: str, number: int, workers: int, status: int
) -> None:
    environment = {"SUPPORT_EXOTEL": "true", "DRAIN_SECONDS": "60"}
    log, arguments = tmp_path / "log", ["--embedded", "--workers", str(workers)]
    service = ServiceProcess(environment, log, arguments).wait_until_ready()
    url = "redis://" + log.read_text().split("redis://")[1].split()[0].rstrip(".,;")
    broker_pid, *_ = [pid for pid in children(service) if "valkey" in program_of(pid)]
    try:
        begun = await carriers(service, name)
        signal_group(service, number)
        await until(service.is_draining)
        with redis.Redis.from_url(url) as broker:
            for index, carrier in enumerate(begun):
                stream = f"{name}-{index}"
                await carrier.send_chunks(stream, 2)
                await until(lambda stream=stream: len(audio(broker, stream)) == 2)  # type: ignore[misc]
                assert await carrier.stop(stream) == 1000
                if index < CALLS - 1:  # the broker ends with the last call
                    assert entries(broker, stream)[-1][1]["data"]["reason"] == "callended"
        assert await exit_status(service) == status
        assert not is_alive(broker_pid)
    finally:
        service.kill()


def test_an_embedded_broker_that_is_frozen_ends_with_the_service(tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = ServiceProcess({"SUPPORT_EXOTEL": "true"}, log, ["--embedded"]).wait_until_ready()
    broker_pid, *_ = [pid for pid in children(service) if "valkey" in program_of(pid)]
    freeze_process(broker_pid)
    try:
        service.kill()
        wait_until(lambda: not is_alive(broker_pid))
    finally:
        if is_alive(broker_pid):
            os.kill(broker_pid, signal.SIGKILL)


def program_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


async def test_sigterms_in_quick_succession_to_one_process_are_one_drain(
    process: Any, broker: Broker, name: str
) -> None:
    service = process(DRAIN_SECONDS="60")
    begun = await carriers(service, name)
    for _ in range(5):
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.02)
    await until(service.is_draining)
    await continue_and_stop(begun, broker, name)
    assert await exit_status(service) == 0


async def test_a_ctrl_c_that_a_wrapper_passes_on_as_sigterm_is_one_drain(
    process: Any, broker: Broker, name: str
) -> None:
    service = process(DRAIN_SECONDS="60")
    begun = await carriers(service, name)
    service.process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.01)
    service.process.send_signal(signal.SIGTERM)
    await until(service.is_draining)
    await continue_and_stop(begun, broker, name)
    assert await exit_status(service) == INTERRUPTED


@pytest.mark.parametrize(
    ("number", "seconds", "status"),
    [(signal.SIGTERM, 2.1, FAILED), (signal.SIGINT, 0.5, INTERRUPTED)],
)
async def test_a_repetition_ends_all_workers_at_once(
    workers: Any, name: str, number: int, seconds: float, status: int
) -> None:
    service = workers(DRAIN_SECONDS="60")
    begun = await carriers(service, f"{name}-{number}")
    service.process.send_signal(number)
    await until(service.is_draining)
    await asyncio.sleep(seconds)  # the rule itself: sooner, it would be the same request
    service.process.send_signal(number)
    assert await exit_status(service, 8) == status
    for carrier in begun:
        with pytest.raises(ConnectionClosed):
            await carrier.hear()


async def test_workers_that_are_still_starting_take_sigterm_for_what_it_is(
    workers: Any,
) -> None:
    service = workers(warm=False)
    os.kill(children(service)[0], signal.SIGKILL)  # its successor takes a second to listen
    await until(lambda: '"worker has died and is replaced"' in service.log.read_text())
    wait_until(lambda: len(children(service)) == 2)
    assert not all(listens(pid) for pid in children(service))
    signal_group_twice(service, signal.SIGTERM)
    assert await exit_status(service) == 0


def test_a_sigterm_that_is_repeated_while_it_starts_is_status_0(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    environment["SUPPORT_EXOTEL"] = "true"
    service = ServiceProcess(environment, tmp_path / "log", warm=False)
    try:
        wait_until(lambda: listens_to_sigterm(service.process.pid))
        for _ in range(20):
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.002)
        assert service.process.wait(20) == 0
    finally:
        service.kill()


def test_a_ctrl_c_while_it_starts_is_told_by_the_status(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    environment["SUPPORT_EXOTEL"] = "true"
    service = ServiceProcess(environment, tmp_path / "log", warm=False)
    try:
        wait_until(lambda: listens_to_sigterm(service.process.pid))
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) == INTERRUPTED
    finally:
        service.kill()
    assert "Traceback" not in service.log.read_text()


def test_a_ctrl_c_while_it_imports_is_no_traceback(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    environment["SUPPORT_EXOTEL"] = "true"
    service = ServiceProcess(environment, tmp_path / "log", warm=False)
    try:
        wait_until(lambda: has_imported(service.process.pid, "msgspec"))
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) in (-signal.SIGINT, INTERRUPTED)
    finally:
        service.kill()
    assert service.log.read_text() == ""


def has_imported(pid: int, library: str) -> bool:
    """Whether the process has loaded compiled code of a library."""
    return library in Path(f"/proc/{pid}/maps").read_text()


def listens_to_sigterm(pid: int) -> bool:
    """Whether the process has a handler for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
