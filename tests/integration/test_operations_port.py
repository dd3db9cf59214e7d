"""`OPERATIONS_PORT`: what operators ask is served there and no more where carriers come."""

import http.client
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from log_lines import lines_of
from ports import quiet_port
from running import Caller, Served, ServiceProcess
from waiting import until
from websockets.exceptions import InvalidStatus
from worker_processes import children

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

FOR_OPERATORS = ("/metrics", "/schema", "/asyncapi.json", "/docs")
ON_BOTH = ("/health", "/health/live", "/health/ready")


class OperationsPort(Served):
    def __init__(self, port: int) -> None:
        self.port = port


@pytest.mark.parametrize("kind", ["process", "workers"])
async def test_each_port_has_its_own_and_health_is_on_both(
    request: pytest.FixtureRequest, kind: str, name: str
) -> None:
    start = request.getfixturevalue(kind)
    operations = OperationsPort(quiet_port())
    service = start(OPERATIONS_PORT=str(operations.port))
    for path in FOR_OPERATORS:
        assert operations.get(path)[0] == 200
        assert service.get(path)[0] == 404
    for path in ON_BOTH:  # the second worker may be ready a moment later
        await until(lambda path=path: {service.get(path)[0] for _ in range(12)} == {200})  # type: ignore[misc]
        assert operations.get(path)[0] == service.get(path)[0] == 200
    assert "/metrics" in operations.get_json("/schema")["paths"]
    callers = [await Caller.dial(service.url) for _ in range(6)]
    for number, caller in enumerate(callers):
        await caller.start(f"{name}-{kind}-{number}")

    def are_all_shown() -> bool:
        shown = {operations.metric("ingest_streams", dialect="exostreamkit") for _ in range(8)}
        return shown == {len(callers)}

    await until(are_all_shown)


async def test_a_silent_connection_is_no_fault_where_browsers_open_spare_ones(
    process: Any,
) -> None:
    operations = OperationsPort(quiet_port())
    service = process(
        OPERATIONS_PORT=str(operations.port), START_TIMEOUT_SECONDS="1", LOG_LEVEL="debug"
    )
    silent = socket.create_connection(("127.0.0.1", operations.port))
    silent.settimeout(20)
    assert silent.recv(100) == b""
    silent.close()
    await until(lambda: lines_of(service.log, "silent connection closed"))
    assert lines_of(service.log, "handshake refused") == []
    assert operations.metric("ingest_handshakes_total", outcome="timed_out") == 0
    for port, sent in ((operations.port, b"GET /li"), (service.port, b"")):
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.settimeout(20)
            slow.sendall(sent)
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
    await until(lambda: len(lines_of(service.log, "handshake refused")) == 2)
    assert operations.metric("ingest_handshakes_total", outcome="timed_out") == 2


async def test_a_call_cannot_be_made_on_the_operations_port(process: Any) -> None:
    operations = OperationsPort(quiet_port())
    service = process(OPERATIONS_PORT=str(operations.port))
    with pytest.raises(InvalidStatus) as refused:
        await Caller.dial(f"ws://127.0.0.1:{operations.port}/v1/ingest")
    assert refused.value.response.status_code == 404
    assert operations.get("/v1/ingest")[0] == 404
    assert operations.metric("ingest_handshakes_total", outcome="wrong_path") == 2
    await until(lambda: lines_of(service.log, ["handshake refused"]))
    (line,) = lines_of(service.log, ["handshake refused"])
    assert (line["status"], line["reason"], line["path"]) == (404, "wrong_path", "/v1/ingest")


@pytest.mark.parametrize("kind", ["process", "workers"])
async def test_it_is_there_until_the_drain_is_over(
    request: pytest.FixtureRequest, kind: str
) -> None:
    start = request.getfixturevalue(kind)
    operations = OperationsPort(quiet_port())
    service = start(OPERATIONS_PORT=str(operations.port), DRAIN_SECONDS="60")
    idle = await Caller.dial(service.url)  # of which a drain waits to hear what it is
    service.process.send_signal(signal.SIGTERM)
    await until(lambda: kind == "process" or len(children(service)) == 1)
    await until(operations.is_draining)
    assert operations.metric("ingest_draining") == 1
    await idle.start("late", wait=False)
    assert await idle.closed() == 1012
    await until(lambda: service.process.poll() is not None)
    assert service.process.returncode == 0


def test_a_request_on_it_has_a_time_limit_too(process: Any) -> None:
    port = quiet_port()
    process(OPERATIONS_PORT=str(port), START_TIMEOUT_SECONDS="0.3")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_one_that_is_taken_is_a_wrong_value(
    valkey: EmbeddedValkey, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": valkey.url,
            "SUPPORT_EXOTEL": "true",
            "OPERATIONS_PORT": str(taken.getsockname()[1]),
        }
        service = ServiceProcess(environment, tmp_path / "log", arguments)
        try:
            assert service.process.wait(15) == 1
        finally:
            service.kill()
    assert "OPERATIONS_PORT" in service.log.read_text()
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("operations", ["", "own"])
def test_head_is_answered_wherever_get_is(start_service: Any, operations: str) -> None:
    port = quiet_port() if operations else 0
    service = start_service(OPERATIONS_PORT=str(port) if port else "")
    for path in (*ON_BOTH, *FOR_OPERATORS, "/schema/openapi.json", "/nothing"):
        at = port if port and path not in ON_BOTH else service.port
        answers = {}
        for method in ("GET", "HEAD"):
            connection = http.client.HTTPConnection("127.0.0.1", at, timeout=5)
            connection.request(method, path)
            answer = connection.getresponse()
            answers[method] = answer.status, answer.getheader("content-type")
            body = answer.read()
            assert (body == b"") is (method == "HEAD")
            connection.request("GET", "/health/live")  # the connection is in order after it
            assert connection.getresponse().read() == b'{"status":"alive"}'
            connection.close()
        assert answers["HEAD"] == answers["GET"]
