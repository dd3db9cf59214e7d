"""Requests that are slow, have a body, or cannot become a WebSocket, over raw sockets."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from log_lines import REFUSED, complaints_of, lines_of, total
from raw_peer import dial, read_to_the_end
from raw_streams import HANDSHAKE, LIMIT_SECONDS, answer, connect
from running import Served, Service, service_process
from waiting import until

from adapters.inbound.websocket import http_guard
from adapters.inbound.websocket.http_guard import FORGET_BYTES, WRITTEN_AGAINST

COUNTS = "ingest_handshakes_total{"
ASKED_FOR = b"GET /asyncapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_protocols_were_written_against_this_uvicorn() -> None:
    assert uvicorn.__version__ == WRITTEN_AGAINST


async def test_a_connection_that_says_nothing_is_answered_408(start_service: Any) -> None:
    service = start_service(START_TIMEOUT_SECONDS="0.3")
    reader, writer = await connect(service)
    assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_request_that_drips_is_answered_408(start_service: Any) -> None:
    service = start_service(START_TIMEOUT_SECONDS="0.5")
    for first in (b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"):  # or on a kept connection
        reader, writer = await connect(service)
        writer.write(first)
        if first:
            async with asyncio.timeout(LIMIT_SECONDS):
                await reader.readuntil(b"}")
        dripping = asyncio.create_task(drip(writer))
        assert b"HTTP/1.1 408 " in await answer(reader)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    for byte in HANDSHAKE * 100:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "body",
    [b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000, b"Content-Length: 5\r\n\r\n"],
    ids=["endless", "short"],
)
async def test_a_request_with_a_body_is_answered_413(service: Service, body: bytes) -> None:
    reader, writer = await connect(service)
    writer.write(b"POST /health HTTP/1.1\r\nHost: x\r\n" + body)
    assert (await answer(reader)).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize(
    "request_line", [b"POST /v1/ingest", b"GET /v1/ingest", b"POST /nope", b"GET /health/live"]
)
async def test_a_request_with_a_body_is_refused_once(
    start_service: Any, request_line: bytes
) -> None:
    service = start_service()
    reader, writer = await connect(service)
    writer.write(request_line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    assert (await answer(reader)).startswith(b"HTTP/1.1 413 ")
    writer.close()
    assert await refusals(service) == {"body": 1}


async def refusals(service: Served) -> dict[str, int]:
    """The refusals that are counted, by their outcome."""
    reader, writer = await connect(service)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    lines = (await answer(reader)).decode().splitlines()
    writer.close()
    counts = (line.split('"')[1::2] + line.split()[-1:] for line in lines if COUNTS in line)
    return {outcome: int(float(count)) for outcome, count in counts if float(count)}


async def test_a_peer_that_does_not_read_its_answers_is_cut_off(start_service: Any) -> None:
    service = start_service(START_TIMEOUT_SECONDS="0.5")
    sock = await dial(service.port)
    with pytest.raises(ConnectionError):
        await ask_endlessly(sock)
    sock.close()
    assert await refusals(service) == {"timed_out": 1}


async def ask_endlessly(sock: socket.socket) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, ASKED_FOR * 100)


async def test_a_peer_that_reads_its_answers_late_is_given_them_all(service: Service) -> None:
    sock = await dial(service.port)
    asked = 60
    closing = ASKED_FOR.replace(b"Host: x", b"Host: x\r\nConnection: close")
    request = ASKED_FOR * (asked - 1) + closing
    await asyncio.get_running_loop().sock_sendall(sock, request)
    assert (await read_to_the_end(sock)).count(b"HTTP/1.1 200 ") == asked
    sock.close()


async def send_endlessly(sock: socket.socket) -> int:
    """Send until the other side hangs up; return how much."""
    sent = 0
    async with asyncio.timeout(LIMIT_SECONDS):
        try:
            while True:
                await asyncio.get_running_loop().sock_sendall(sock, bytes(65_536))
                sent += 65_536
        except ConnectionError:
            return sent


async def test_of_a_refused_request_no_more_is_read_than_a_while(service: Service) -> None:
    sock = await dial(service.port)
    head = HANDSHAKE + b"Content-Length: 999999999\r\n\r\n"
    await asyncio.get_running_loop().sock_sendall(sock, head)
    assert await send_endlessly(sock) < 16 * FORGET_BYTES  # what the kernel takes is on top
    sock.close()


async def test_a_body_after_another_request_is_answered_413(service: Service) -> None:
    reader, writer = await connect(service)
    post = b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + post)
    head = await answer(reader)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 413 " in head
    writer.close()


async def test_a_request_that_says_it_has_no_body_has_none(service: Service) -> None:
    reader, writer = await connect(service)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Host: x", b"Host: x\r\nX-Long: " + b"x" * 10_000, b"431"),
        (b"Host: x", b"Host: x" + b"\r\nX: y" * 200, b"431"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"HTTP/1.1", b"HTTP/1.0", b"400"),
        (b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: , Upgrade", b"101"),
    ],
    ids=["10 kB line", "200 lines", "version", "HTTP/1.0", "two lines"],
)
async def test_a_handshake_is_refused_by_the_rules_for_it(
    service: Service, old: bytes, new: bytes, status: bytes
) -> None:
    """The rules are tried without sockets, in `tests/unit/test_handshake_rules.py`."""
    reader, writer = await connect(service)
    writer.write(HANDSHAKE.replace(old, new) + b"\r\n")
    async with asyncio.timeout(LIMIT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %b " % status)
    assert (b"\r\nsec-websocket-version: 13\r\n" in head) is (status == b"426")
    writer.close()


async def test_a_handshake_with_a_body_is_answered_413(service: Service) -> None:
    reader, writer = await connect(service)
    writer.write(HANDSHAKE + b"Content-Length: 5\r\n\r\nhello")
    assert (await answer(reader)).startswith(b"HTTP/1.1 413 ")
    writer.close()


UNREADABLE = [
    *(b"X: a%cb\r\n" % byte for byte in (*range(9), *range(0x0B, 0x20), 0x7F) if byte != 0x0D),
    b"Content-Length: 00\r\n",
]
"""Lines of a handshake that no peer needs: `websockets` reads none of them, h11 most."""


async def test_each_unreadable_header_of_a_handshake_is_answered_400_counted_and_told(
    tmp_path: Path,
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "in_memory",
        "SUPPORT_EXOTEL": "true",
    }
    with service_process(environment, tmp_path / "log") as service:
        for line in UNREADABLE:
            reader, writer = await connect(service)
            writer.write(HANDSHAKE + line + b"\r\n")
            assert (await answer(reader)).startswith(b"HTTP/1.1 400 "), line
            writer.close()
        await until(lambda: total(lines_of(service.log, REFUSED)) == len(UNREADABLE))
        assert await refusals(service) == {"unreadable": len(UNREADABLE)}
        told = lines_of(service.log, REFUSED)
        assert {line["level"] for line in complaints_of(service.log)} == {"warning"}
        assert {line["address"] for line in told} == {"127.0.0.1"}
        assert len(told) < len(UNREADABLE)


@pytest.mark.parametrize("before", [b"", ASKED_FOR], ids=["first", "behind another request"])
async def test_a_handshake_that_websockets_cannot_read_is_refused_all_the_same(
    start_service: Any, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    """No rule for it may be missing; where one is, the peer is answered, and not kept."""
    service = start_service()
    monkeypatch.setattr(http_guard, "refusal_of_handshake", lambda *_: None)
    reader, writer = await connect(service)
    writer.write(before + HANDSHAKE + b"X: a\x01b\r\n\r\n" + bytes(10_000))
    assert b"HTTP/1.1 400 " in await answer(reader)
    writer.close()
    assert await refusals(service) == {"unreadable": 1}
