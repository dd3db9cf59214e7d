"""`serve --workers N`: several processes, one service."""

import asyncio
import errno
import json
import os
import re
import resource
import signal
import socket
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from published import Broker, audio, entries
from raw_peer import dial, shake_hands
from running import Caller, ServiceProcess, pcm
from waiting import until
from websockets.exceptions import InvalidStatus
from worker_processes import children, is_alive, listens, worker_of

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.cli.serve import FAILED

pytestmark = pytest.mark.long(40)


def scrape(service: ServiceProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


RECEIVED = 'ingest_frames_total{outcome="received",reason=""}'
OPEN = 'ingest_streams{dialect="exostreamkit"}'


async def calls_on_both(service: ServiceProcess, name: str) -> list[Caller]:
    """Begin calls until each worker has one."""
    callers: list[Caller] = []
    while len({worker_of(caller, service) for caller in callers}) < 2:
        assert len(callers) < 60, "one worker is given nothing"
        callers.append(await Caller.dial(service.url))
    for number, caller in enumerate(callers):
        await caller.start(f"{name}-{number}")
    return callers


def workers_told(service: ServiceProcess) -> int:
    """Return how many workers have shown that they live: each in the board that a scrape sums."""
    return sum(line.startswith("process_cpu_seconds_total{") for line in scrape(service))


async def until_told(service: ServiceProcess, *, received: int, open_streams: int) -> None:
    """Wait until either worker, as the kernel chooses, tells these sums."""

    def is_told() -> bool:
        found = [scrape(service) for _ in range(8)]
        return all((it.get(RECEIVED), it.get(OPEN)) == (received, open_streams) for it in found)

    await until(is_told)


def seen_from_outside(pid: int) -> object:
    """What the kernel tells of a process: signals, session, directory, descriptors.

    Sockets are only looked at for being there: connections come and go.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.findall(r"^(Sig(?:Blk|Ign|Cgt)):\s*(\S+)$", status, re.MULTILINE)
    opened = [it.readlink() for it in Path(f"/proc/{pid}/fd").iterdir()]
    kinds = Counter(re.sub(r"\d+", "N", str(link)) for link in opened)
    kinds["socket:[N]"] = min(kinds["socket:[N]"], 1)
    return found, kinds, os.getsid(pid) == pid, Path(f"/proc/{pid}/cwd").readlink()


async def test_a_worker_that_the_tests_fork_is_as_one_that_is_started(workers: Any) -> None:
    found = []
    for warm in (False, True):
        service = workers(warm=warm)
        await until(lambda service=service: workers_told(service) == 2)  # type: ignore[misc]
        found.append([seen_from_outside(pid) for pid in children(service)])
        assert await asyncio.to_thread(service.stop) == 0
    started, forked = found
    assert forked == started


async def test_any_scrape_shows_the_sums(workers: Any, name: str) -> None:
    service = workers(warm=False)
    callers = await calls_on_both(service, name)
    for caller in callers:
        await caller.speak(*range(20))
    await until_told(service, received=20 * len(callers), open_streams=len(callers))


async def test_max_streams_is_the_total(workers: Any) -> None:
    service = workers(MAX_STREAMS="12")
    callers = [await Caller.dial(service.url) for _ in range(12)]
    assert len({worker_of(caller, service) for caller in callers}) == 2
    for _ in range(4):
        with pytest.raises(InvalidStatus) as refused:
            await Caller.dial(service.url)
        assert refused.value.response.status_code == 503
    await callers[0].socket.close()

    def is_ready() -> bool:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{service.port}/health/ready", timeout=5
        ) as answer:
            return bool(answer.status == 200)

    def has_room() -> bool:
        try:
            return is_ready()
        except OSError:
            return False

    await until(has_room)
    await Caller.dial(service.url)


async def test_sigterm_to_the_parent_drains_all(workers: Any, broker: Broker, name: str) -> None:
    service = workers()
    pids = children(service)
    callers = await calls_on_both(service, name)
    for caller in callers:
        await caller.speak(*range(57))
        await caller.hear_ack(9)
    service.process.send_signal(signal.SIGTERM)
    for number, caller in enumerate(callers):
        assert await caller.closed() == 1012
        assert [r["seq"] for r in caller.replies if r["event"] == "ack"][-1] == 56
        assert audio(broker, f"{name}-{number}") == [(n, pcm(n)) for n in range(57)]
    assert await asyncio.to_thread(service.process.wait, 20) == 0
    assert not any(is_alive(pid) for pid in pids)


async def test_a_killed_worker_is_replaced_and_the_calls_of_others_continue(
    workers: Any, broker: Broker, name: str
) -> None:
    service = workers(MAX_STREAMS="80")
    callers = await calls_on_both(service, name)
    for caller in callers:
        await caller.speak(*range(30))
    await until_told(service, received=30 * len(callers), open_streams=len(callers))
    for number in range(len(callers)):
        key = f"{name}-{number}"
        await until(lambda key=key: len(audio(broker, key)) == 30)  # type: ignore[misc]
    killed = worker_of(callers[-1], service)
    own = [caller for caller in callers if worker_of(caller, service) == killed]
    os.kill(killed, signal.SIGKILL)
    for number, caller in enumerate(callers):
        if caller in own:
            assert await caller.closed() is None
            again = await Caller.dial(service.url)
            assert (await again.start(f"{name}-{number}", resume=True))["last_seq"] == 29
        else:
            again = caller
        await again.speak(*range(30, 40))
        assert (await again.end())["published"] == 40
        assert audio(broker, f"{name}-{number}") == [(n, pcm(n)) for n in range(40)]
        assert [e["type"] for _, e in entries(broker, f"{name}-{number}")].count("ended") == 1
    await until(lambda: len(children(service)) == 2 and killed not in children(service))
    await until_told(service, received=40 * len(callers), open_streams=0)
    assert '"worker has died and is replaced"' in service.log.read_text()


async def test_connections_that_wait_for_a_worker_that_dies_get_the_next_one(
    workers: Any,
) -> None:
    service = workers()
    await until(lambda: workers_told(service) == 2)
    dying = children(service)[0]
    os.kill(dying, signal.SIGSTOP)
    waiting = [asyncio.create_task(shake_hands(service.port)) for _ in range(20)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)  # at the other worker
    os.kill(dying, signal.SIGKILL)
    for task in waiting:
        (await task).close()


async def test_a_call_taken_over_by_another_worker_is_as_across_machines(
    workers: Any, broker: Broker, name: str
) -> None:
    service = workers()
    older = await Caller.dial(service.url)
    await older.start(name)
    await older.speak(*range(25))
    while True:
        newer = await Caller.dial(service.url)
        if worker_of(newer, service) != worker_of(older, service):
            break
    started = await newer.start(name, resume=True)
    assert started["generation"] == 2
    last_seq = started["last_seq"]
    assert last_seq is not None
    await newer.speak(*range(last_seq + 1, 40))
    assert await older.closed() == 4409
    assert (await newer.end())["published"] == 40
    assert audio(broker, name) == [(n, pcm(n)) for n in range(40)]


def lines(service: ServiceProcess) -> dict[str, dict[str, Any]]:
    """The last log line of each event."""
    told = map(json.loads, service.log.read_text().splitlines())
    return {line["event"]: line for line in told}


def are_all_answered(service: ServiceProcess, path: str, status: int, times: int = 20) -> bool:
    """The process that the kernel gives a connection to answers it."""
    return {service.get(path)[0] for _ in range(times)} == {status}


@pytest.mark.parametrize("seconds", ["0", "1"])
async def test_a_drain_ends_also_with_peers_that_do_not_read(workers: Any, seconds: str) -> None:
    service = workers(DRAIN_SECONDS=seconds, START_TIMEOUT_SECONDS="60")
    sock = await dial(service.port)
    request = b"GET /asyncapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with pytest.raises(TimeoutError):  # nothing more is read of who does not read
        await send_endlessly(sock, request * 100)
    service.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.process.wait, 30) == 0
    assert "exceeded" not in service.log.read_text()
    sock.close()


async def send_endlessly(sock: socket.socket, data: bytes) -> None:
    """Send until nothing is taken for a while."""
    while True:
        async with asyncio.timeout(2):
            await asyncio.get_running_loop().sock_sendall(sock, data)


async def draining_with_a_call(workers: Any, name: str) -> tuple[ServiceProcess, AgentstreamSender]:
    """Have a service drain, of which one worker is left, with one call."""
    service: ServiceProcess = workers(DRAIN_SECONDS="60")
    carrier = await AgentstreamSender.dial(service.url)
    await carrier.begin(name)
    await carrier.send_chunks(name, 1)
    service.process.send_signal(signal.SIGTERM)
    await until(lambda: len(children(service)) == 1)
    return service, carrier


async def test_while_some_workers_drain_no_request_waits_for_those_that_are_done(
    workers: Any, name: str
) -> None:
    service, carrier = await draining_with_a_call(workers, name)
    assert await asyncio.to_thread(are_all_answered, service, "/health/ready", 503)
    assert await carrier.stop(name) == 1000
    assert await asyncio.to_thread(service.process.wait, 20) == 0


async def test_no_request_waits_for_a_worker_that_cannot_be_replaced(
    workers: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    service = workers(EXOTEL_USERNAME="key", EXOTEL_PASSWORD_FILE=str(secret))
    secret.unlink()
    os.kill(children(service)[0], signal.SIGKILL)
    await until(lambda: "EXOTEL_PASSWORD_FILE" in service.log.read_text())
    await until(lambda: '"status": 70' in service.log.read_text())
    assert await asyncio.to_thread(are_all_answered, service, "/health/live", 200)
    assert "Traceback" not in service.log.read_text()
    secret.write_text("s3cret")
    await until(lambda: len(children(service)) == 2 and all(map(listens, children(service))))


def first_free_descriptor(pid: int) -> int:
    taken = {int(it.name) for it in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)


@pytest.mark.parametrize("fails", ["the start", "the binding"])
async def test_no_request_waits_for_a_worker_that_the_machine_cannot_start(
    workers: Any, fails: str
) -> None:
    service = workers(warm=False)
    pid = service.process.pid
    old, other = children(service)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    fewer = 0 if fails == "the binding" else first_free_descriptor(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (fewer, hard))
    os.kill(old, signal.SIGKILL)
    await until(lambda: service.log.read_text().count('"worker cannot be started"') > 1)
    told = service.log.read_text()
    assert "Too many open files" in told
    assert ("HOST" in told) is (fails == "the binding")
    assert children(service) == [other]
    assert await asyncio.to_thread(are_all_answered, service, "/health/live", 200)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: len(children(service)) == 2 and all(map(listens, children(service))))
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "broken"),
    [
        ([], "entrypoints.server.IngestServer.run"),
        (["--workers", "2"], "entrypoints.workers.Workers._look_after"),
    ],
)
def test_what_nothing_has_caught_is_a_line_and_status_70(
    valkey: EmbeddedValkey, tmp_path: Path, arguments: list[str], broken: str
) -> None:
    module, name, method = broken.rsplit(".", 2)
    program = (
        f"from {module} import {name}; {name}.{method} = lambda *_: 1 / 0\n"
        "from entrypoints.cli import main; main()"
    )
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    service = ServiceProcess(
        {**environment, "SUPPORT_EXOTEL": "true"}, tmp_path / "log", arguments, ["-c", program]
    )
    try:
        assert service.process.wait(20) == FAILED
    finally:
        service.stop()
    line = json.loads(service.log.read_text().splitlines()[-1])
    assert line["event"] == "the service has failed"
    assert "ZeroDivisionError" in line["exception"]


async def test_workers_do_not_outlive_their_parent(workers: Any) -> None:
    service = workers()
    pids = children(service)
    service.kill()
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_workers_without_a_parent_accept_no_connection_while_they_drain(
    workers: Any, broker: Broker, name: str
) -> None:
    service = workers(DRAIN_SECONDS="60")
    pids = children(service)
    carrier = await AgentstreamSender.dial(service.url)
    await carrier.begin(name)  # a carrier's call is left alone until the drain is over
    await carrier.send_chunks(name, 1)
    await until(lambda: len(audio(broker, name)) == 1)
    service.kill()

    def is_refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", service.port)) == errno.ECONNREFUSED

    await until(is_refused)
    assert any(is_alive(pid) for pid in pids)
    await carrier.send_chunks(name, 2)
    await until(lambda: len(audio(broker, name)) == 2)
    assert await carrier.stop(name) == 1000
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_a_drain_ends_also_with_a_worker_that_stands_still(workers: Any) -> None:
    service = workers(DRAIN_SECONDS="0.1")
    os.kill(children(service)[0], signal.SIGSTOP)
    service.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.process.wait, 25) == FAILED
    told = lines(service)
    late = told["workers have not ended in time and are killed"]["workers"]
    failed = told["worker has failed in the drain"]
    assert ([failed["worker"]], failed["status"]) == (late, -signal.SIGKILL)


async def test_a_worker_that_dies_in_the_drain_is_told(workers: Any, name: str) -> None:
    service, _ = await draining_with_a_call(workers, name)
    os.kill(children(service)[0], signal.SIGKILL)
    assert await asyncio.to_thread(service.process.wait, 20) == FAILED
    told = lines(service)["worker has failed in the drain"]
    assert (told["level"], told["status"]) == ("error", -signal.SIGKILL)
    assert told["connections"] == 1


async def test_a_worker_that_stands_still_is_killed_and_replaced(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    impatient = (
        "import entrypoints.workers as workers; workers.LOOK_SECONDS = 0.1\n"
        "workers.SILENT_LOOKS = 40; workers.MAX_SILENT_LOOKS = 60\n"
        "from entrypoints.cli import main; main()"
    )
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    service = ServiceProcess(
        {**environment, "SUPPORT_EXOTEL": "true"},
        tmp_path / "log",
        ["--workers", "2"],
        program=["-c", impatient],
    )
    try:
        await until(lambda: len(children(service)) == 2)
        service.wait_until_ready()
        still, other = children(service)
        os.kill(still, signal.SIGSTOP)
        await until(lambda: len(children(service)) == 2 and still not in children(service))
        assert other in children(service)
        assert '"worker shows no life"' in service.log.read_text()
    finally:
        service.stop()


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_port_that_is_taken_is_told_and_nothing_starts(
    workers: Any, valkey: EmbeddedValkey, tmp_path: Path, arguments: list[str]
) -> None:
    service = workers()
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "PORT": str(service.port),
    }
    other = ServiceProcess(environment, tmp_path / "other-log", arguments)
    try:
        assert other.process.wait(15) == 1
        assert f"PORT: found {service.port}, which is in use" in other.log.read_text()
    finally:
        other.stop()
    assert service.get("/health")[0] == 200
