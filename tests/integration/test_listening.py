"""Where the service listens: `HOST` and `PORT`, for each way to start it, and for `check`."""

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import run
from ports import quiet_port
from running import LIMIT_SECONDS, ServiceProcess
from waiting import wait_until
from worker_processes import children, descriptors

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.listening import bind, find_endpoints, problems_of, too_late

pytestmark = pytest.mark.long(20)

EVERY_WAY = pytest.mark.parametrize(
    "command",
    [["serve"], ["serve", "--workers", "2"], ["check"], ["check", "--config-only"]],
    ids=" ".join,
)


def environment(valkey: EmbeddedValkey, **variables: str) -> dict[str, str]:
    return {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "HOST": "127.0.0.1",
        "PORT": str(quiet_port()),
        **variables,
    }


@contextmanager
def served(
    valkey: EmbeddedValkey, log: Path, arguments: list[str], **variables: str
) -> Iterator[ServiceProcess]:
    chosen = environment(valkey)
    del chosen["PORT"]  # the service has one of its own
    service = ServiceProcess({**chosen, **variables}, log, arguments)
    try:
        yield service
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("x86_64-conda-linux-gnu", "a name without an address"),
        ("[::]", "'[::]'"),
        ("0.0.0.0,::", "'0.0.0.0,::'"),
        ("192.0.2.1", "no address of this machine"),
        ("2001:db8::1", "no address of this machine"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_a_wrong_value(host: str, found: str) -> None:
    (problem,) = problems_of(host, {"PORT": quiet_port()})
    assert problem.variable == "HOST"
    assert found in problem.found
    assert problem.accepted.startswith("one address of this machine")


@EVERY_WAY
def test_each_way_to_start_tells_a_wrong_host(command: list[str], valkey: EmbeddedValkey) -> None:
    done = run(*command, env=environment(valkey, HOST="192.0.2.1"))
    assert done.returncode == 1
    assert "HOST: found '192.0.2.1', no address of this machine" in done.stderr
    assert "accepted: one address of this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_host_is_told_together_with_a_wrong_port(valkey: EmbeddedValkey) -> None:
    wrong = environment(valkey, HOST="192.0.2.1", PORT="80a")
    done = run("check", "--config-only", env=wrong)
    assert done.returncode == 1
    assert "HOST: found '192.0.2.1', no address of this machine" in done.stderr
    assert "PORT: found '80a'" in done.stderr


@EVERY_WAY
def test_a_port_in_use_is_a_wrong_value(command: list[str], valkey: EmbeddedValkey) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = run(*command, env=environment(valkey, PORT=str(port)))
    assert done.returncode == 1
    assert f"PORT: found {port}, which is in use" in done.stderr
    assert "perhaps this service" in done.stderr
    assert "accepted: a port from 0 to 65535 on which no process listens" in done.stderr
    assert "Traceback" not in done.stderr


@EVERY_WAY
def test_ports_in_use_are_wrong_values_each_by_its_name(
    command: list[str], valkey: EmbeddedValkey
) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as other,
        closing(socket.create_server(("127.0.0.1", 0))) as another,
    ):
        port, operations = other.getsockname()[1], another.getsockname()[1]
        variables = {"PORT": str(port), "OPERATIONS_PORT": str(operations)}
        done = run(*command, env=environment(valkey, **variables))
    assert done.returncode == 1
    assert f"\n  PORT: found {port}, which is in use" in done.stderr
    assert f"OPERATIONS_PORT: found {operations}, which is in use" in done.stderr
    assert "accepted: a port from 1 to 65535, other than PORT, on which no process" in done.stderr


@pytest.mark.parametrize("variable", ["PORT", "OPERATIONS_PORT"])
def test_a_port_that_is_taken_between_bind_and_listen_is_told_by_its_name(variable: str) -> None:
    ports = {"PORT": 0, "OPERATIONS_PORT": quiet_port()}
    endpoints = find_endpoints("127.0.0.1", ports)
    mine = bind(endpoints)
    with ExitStack() as stack:
        for bound in mine:
            stack.callback(bound.close)
        ports = {endpoint.variable: endpoint.port for endpoint in endpoints}
        (theirs,) = bind([at for at in endpoints if at.variable == variable], is_shared=False)
        stack.callback(theirs.close)
        theirs.listen()
        try:
            for bound in mine:
                bound.listen()
        except OSError as error:
            (problem,) = too_late(error, mine, ports).problems
        assert problem.variable == variable
        assert problem.found.startswith(f"{ports[variable]}, which is in use")


@pytest.mark.parametrize("is_inherited", [False, True], ids=["one", "workers"])
async def test_small_replies_do_not_wait_for_acknowledgements(is_inherited: bool) -> None:
    """Of an ack and a close after it, the close would come 40 ms later, or never."""
    (bound,) = bind(find_endpoints("127.0.0.1", {"PORT": 0}))
    if is_inherited:
        bound = socket.socket(fileno=bound.detach())
    accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        options = writer.get_extra_info("socket")
        accepted.set_result(bool(options.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    async with await asyncio.start_server(accept, sock=bound), asyncio.timeout(LIMIT_SECONDS):
        _, writer = await asyncio.open_connection(*bound.getsockname())
        assert await accepted
        writer.close()


def test_a_port_that_the_kernel_chooses_is_not_the_other() -> None:
    for _ in range(3):
        operations = find_endpoints("127.0.0.1", {"PORT": 0})[0].port  # in the kernel's own range
        chosen = find_endpoints("127.0.0.1", {"PORT": 0, "OPERATIONS_PORT": operations})
        assert len({endpoint.port for endpoint in chosen}) == 2


def test_a_host_and_other_wrong_values_are_told_in_one_try(valkey: EmbeddedValkey) -> None:
    done = run("serve", env=environment(valkey, HOST="192.0.2.1", MAX_STREAMS="x"))
    assert done.returncode == 1
    assert "HOST: found" in done.stderr
    assert "MAX_STREAMS: found" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "host", "answering", "refusing", "told"),
    [
        ([], "::", ["127.0.0.1", "::1"], [], ["[::]", "0.0.0.0"]),
        ([], "0:0::0", ["127.0.0.1", "::1"], [], ["[::]", "0.0.0.0"]),
        ([], "0.0.0.0", ["127.0.0.1"], ["::1"], ["0.0.0.0"]),
        ([], "::1", ["::1"], ["127.0.0.1"], ["[::1]"]),
        ([], "localhost", ["127.0.0.1"], [], ["127.0.0.1"]),
        # Workers inherit what their parent has bound: one socket, and two.
        (["--workers", "2"], "::", ["127.0.0.1", "::1"], [], ["[::]", "0.0.0.0"]),
        (["--workers", "2"], "::1", ["::1"], ["127.0.0.1"], ["[::1]"]),
    ],
)
def test_a_host_stands_for_its_families(
    arguments: list[str],
    host: str,
    answering: list[str],
    refusing: list[str],
    told: list[str],
    valkey: EmbeddedValkey,
    tmp_path: Path,
) -> None:
    with served(valkey, tmp_path / "log", arguments, HOST=host) as service:
        for address in answering:
            wait_until(lambda address=address: answers(service, address))  # type: ignore[misc]
        assert not any(answers(service, address) for address in refusing)
        line = next(line for line in lines(service) if line["event"] == "listening")
        assert {f"{address}:{service.port}" for address in told} <= set(line["at"])
        assert service.stop() == 0


def lines(service: ServiceProcess) -> list[dict[str, Any]]:
    text = service.log.read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def listening_ports(pid: int) -> set[int]:
    """The ports of the sockets that a process listens at, of IPv4."""
    held = descriptors(pid)
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(fields[1].split(":")[1], 16)
        for fields in table
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in held
    }


def answers(service: ServiceProcess, address: str) -> bool:
    assert service.process.poll() is None, service.log.read_text()
    place = f"[{address}]" if ":" in address else address
    try:
        with urllib.request.urlopen(
            f"http://{place}:{service.port}/health/live", timeout=5
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_workers_share_one_port_that_the_kernel_chooses(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    with served(valkey, tmp_path / "log", ["--workers", "2"], PORT="0") as service:

        def listening() -> list[dict[str, Any]]:
            return [line for line in lines(service) if line["event"] == "worker listens"]

        wait_until(lambda: len(listening()) == 2)
        (at,) = next(line["at"] for line in lines(service) if line["event"] == "listening")
        service.port = int(at.rpartition(":")[2])
        assert answers(service, "127.0.0.1")
        for pid in children(service):
            assert listening_ports(pid) == {service.port}


def test_two_services_that_start_at_once_do_not_both_serve_a_port(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    variables = environment(valkey)
    services = [ServiceProcess(variables, tmp_path / f"log-{n}") for n in range(2)]
    try:
        wait_until(lambda: any(service.process.poll() is not None for service in services))
        (loser,) = [service for service in services if service.process.poll() is not None]
        (winner,) = [service for service in services if service is not loser]
        assert loser.process.returncode == 1
        assert f"PORT: found {variables['PORT']}, which is in use" in loser.log.read_text()
        assert "Traceback" not in loser.log.read_text()
        winner.port = int(variables["PORT"])
        winner.wait_until_ready()
    finally:
        for service in services:
            service.stop()
