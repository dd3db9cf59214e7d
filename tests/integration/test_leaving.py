"""Peers that leave by themselves: each is counted once, as what it was, and is no bug of ours."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from log_lines import REFUSED, Line, complaints_of, lines_of, seconds_between, total
from raw_peer import CLOSE, HANDSHAKE, RESETS, TEXT, frame
from running import Keys, ServiceProcess, start_message
from waiting import freeze_process, until

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

pytestmark = pytest.mark.long(30)

LIMIT_SECONDS = 20.0
FREE_FAILURES = 19
"""Failed authentications of one address that are answered without delay."""
LEFT = ("peer left before its start",)
CONNECTED = frame(TEXT, b'{"event":"connected"}')

Leave = Callable[[asyncio.StreamWriter], None]


def finish(writer: asyncio.StreamWriter) -> None:
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(1, 13, RESETS)  # SOL_SOCKET, SO_LINGER
    writer.transport.abort()


def say_goodbye(writer: asyncio.StreamWriter) -> None:
    writer.write(frame(CLOSE, b"\x03\xe8"))
    writer.close()


def handshake(authorization: bytes | None = None) -> bytes:
    if authorization is None:
        return HANDSHAKE
    return HANDSHAKE.removesuffix(b"\r\n") + b"Authorization: " + authorization + b"\r\n\r\n"


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


RIGHT, WRONG = handshake(basic(b"key:word")), handshake(basic(b"key:wrong"))


async def dial(
    service: ServiceProcess, sent: bytes, source: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", service.port, local_addr=(source, 0)
    )
    writer.write(sent)
    return reader, writer


async def shake_hands(
    service: ServiceProcess, sent: bytes = RIGHT
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await dial(service, sent)
    async with asyncio.timeout(LIMIT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


def outcomes(service: ServiceProcess) -> dict[str, float]:
    names = ("accepted", "unauthenticated", "no_broker", "address_unknown", "failed")
    return {name: service.metric("ingest_handshakes_total", outcome=name) for name in names}


def since(service: ServiceProcess, before: dict[str, float]) -> dict[str, float]:
    """The outcomes of handshakes that are more than before."""
    grown = {name: count - before[name] for name, count in outcomes(service).items()}
    return {name: count for name, count in grown.items() if count}


def left(service: ServiceProcess) -> float:
    return service.metric("ingest_left_total")


@pytest.fixture(scope="module")
def guarded(
    valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> Iterator[ServiceProcess]:
    """A service that asks for a pair or a token, from addresses of this machine."""
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "key",
        "EXOTEL_PASSWORD": "word",
        "EXOTEL_ALLOWED_IPS": "127.0.0.0/8",
        "JWT_PUBLIC_KEY": keys.public_pem,
        "START_TIMEOUT_SECONDS": "30",
    }
    service = ServiceProcess(environment, tmp_path_factory.mktemp("guarded") / "log")
    yield service.wait_until_ready()
    service.kill()
    assert "Traceback" not in service.log.read_text()
    assert [line for line in lines_of(service.log) if line["level"] == "error"] == []


@pytest.mark.parametrize(("leave", "source"), [(finish, "127.0.0.41"), (reset, "127.0.0.42")])
async def test_a_peer_that_leaves_while_its_401_is_held_back_is_one_unauthenticated(
    guarded: ServiceProcess, leave: Leave, source: str
) -> None:
    before = outcomes(guarded)
    for _ in range(FREE_FAILURES):
        reader, writer = await dial(guarded, WRONG, source)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()
    held = [await dial(guarded, WRONG, source) for _ in range(3)]
    for _, writer in held:
        leave(writer)
    every = FREE_FAILURES + len(held)
    await until(lambda: since(guarded, before).get("unauthenticated") == every)
    assert since(guarded, before) == {"unauthenticated": every}

    def told() -> list[Line]:
        return [line for line in lines_of(guarded.log, REFUSED) if line["peer"] == source]

    await until(lambda: total(told()) == every)


@pytest.mark.parametrize("leave", [finish, reset])
async def test_a_peer_that_leaves_while_it_waits_for_the_broker_is_one_no_broker(
    tmp_path: Path, leave: Leave
) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": "redis://127.0.0.1:1/0"}
    service = ServiceProcess({**environment, "SUPPORT_EXOTEL": "true"}, tmp_path / "log")
    try:
        await until(lambda: '"listening' in service.log.read_text() or answers(service))
        before = outcomes(service)
        for _ in range(3):
            _, writer = await dial(service, handshake())
            await writer.drain()
            leave(writer)
        await until(lambda: since(service, before).get("no_broker") == 3)
        assert since(service, before) == {"no_broker": 3}
        assert "Traceback" not in service.log.read_text()
    finally:
        service.kill()


def answers(service: ServiceProcess) -> bool:
    try:
        return service.get("/health/live")[0] == 200
    except OSError:
        return False


async def test_a_peer_that_leaves_before_the_answer_that_lets_it_in_is_told_as_gone(
    process: Any,
) -> None:
    with BrokerLab() as lab:
        service = process(REDIS_URL=lab.url)
        for _ in range(5):  # until the broker is back within the wait of a handshake
            before, gone = outcomes(service), left(service)
            lab.freeze()
            await until(lambda: service.get("/health/ready")[0] == 503)
            dialled = [await dial(service, handshake()) for _ in range(3)]
            await asyncio.to_thread(service.get, "/health/live")  # they were read before it
            for _, writer in dialled:
                reset(writer)
            lab.thaw()
            await until(lambda before=before: sum(since(service, before).values()) == 3)  # type: ignore[misc]
            assert since(service, before).keys() <= {"accepted", "no_broker"}
            accepted = since(service, before).get("accepted", 0)
            await until(lambda gone=gone, n=accepted: left(service) == gone + n)  # type: ignore[misc]
            if service.metric("ingest_left_total", when="before_answer"):
                break
        assert service.metric("ingest_left_total", when="before_answer") > 0
        line = lines_of(service.log, LEFT)[0]
        assert (line["level"], line["when"], line["peer"]) == ("info", "before_answer", "127.0.0.1")
        assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("leave", [finish, reset, say_goodbye])
@pytest.mark.parametrize("sent", [b"", CONNECTED])
async def test_a_peer_that_leaves_before_its_start_is_told(
    guarded: ServiceProcess, keys: Keys, leave: Leave, sent: bytes
) -> None:
    counted, told = left(guarded), total(lines_of(guarded.log, LEFT))
    complaints = len(complaints_of(guarded.log))
    token = handshake(f"Bearer {keys.token(tenant_id='acct', interaction_id='int-1')}".encode())
    _, writer = await shake_hands(guarded, token)
    writer.write(sent)
    await writer.drain()
    leave(writer)
    await until(lambda: total(lines_of(guarded.log, LEFT)) > told)
    assert left(guarded) == counted + 1
    assert len(complaints_of(guarded.log)) == complaints
    line = lines_of(guarded.log, LEFT)[-1]
    expected = {
        "level": "info",
        "when": "before_start",
        "peer": "127.0.0.1",
        "address": "127.0.0.1",
        "token_tenant_id": "acct",
        "token_interaction_id": "int-1",
    }
    assert {name: line[name] for name in expected} == expected
    assert leave is reset or line.get("dialect") == ("agentstream" if sent else None)


async def test_a_peer_that_leaves_after_its_start_or_that_is_closed_is_not_told_as_gone(
    guarded: ServiceProcess, name: str
) -> None:
    counted = left(guarded)
    for leave in (finish, reset):
        reader, writer = await shake_hands(guarded)
        writer.write(frame(TEXT, json.dumps(start_message(f"{name}-{leave.__name__}")).encode()))
        async with asyncio.timeout(LIMIT_SECONDS):
            await reader.readuntil(b"started")
        leave(writer)
    closes = guarded.metric("ingest_closes_total", reason="not_json")
    reader, writer = await shake_hands(guarded)
    writer.write(frame(TEXT, b"hello"))
    async with asyncio.timeout(LIMIT_SECONDS):
        await reader.read()
    writer.close()
    await until(lambda: guarded.metric("ingest_streams") == 0)
    assert guarded.metric("ingest_closes_total", reason="not_json") == closes + 1
    assert left(guarded) == counted


async def test_a_flood_of_peers_that_leave_is_at_most_a_line_a_second(
    guarded: ServiceProcess,
) -> None:
    counted, told = left(guarded), len(lines_of(guarded.log, LEFT))
    for _ in range(200):
        _, writer = await shake_hands(guarded)
        finish(writer)

    def lines() -> list[Line]:
        return lines_of(guarded.log, LEFT)[told:]

    await until(lambda: left(guarded) == counted + 200)
    await until(lambda: total(lines()) >= 200)
    assert all(seconds > 0.95 for seconds in seconds_between(lines()))


@pytest.mark.parametrize(
    ("sent", "outcome"), [(RIGHT, "accepted"), (WRONG, "unauthenticated")], ids=["right", "wrong"]
)
async def test_the_address_of_a_peer_that_resets_right_behind_its_handshake_is_known(
    guarded: ServiceProcess, sent: bytes, outcome: str
) -> None:
    """It has reset before the service takes the connection up."""
    before, gone, source = outcomes(guarded), left(guarded), "127.0.0.77"
    freeze_process(guarded.process.pid)
    try:
        for _ in range(3):
            _, writer = await dial(guarded, sent, source)
            await writer.drain()
            reset(writer)
    finally:
        os.kill(guarded.process.pid, signal.SIGCONT)
    await until(lambda: since(guarded, before).get(outcome) == 3)
    assert since(guarded, before) == {outcome: 3}
    events = LEFT if outcome == "accepted" else REFUSED
    if outcome == "accepted":
        await until(lambda: left(guarded) == gone + 3)

    def told() -> list[Line]:
        return [line for line in lines_of(guarded.log, events) if line["peer"] == source]

    await until(lambda: total(told()) == 3)
    assert {line["address"] for line in told()} == {source}
