"""Peers that send more than anybody needs: it costs little memory, and no other call notices."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from published import entries
from raw_peer import (
    BINARY,
    CAN_BE_MEASURED,
    HANDSHAKE,
    LIMIT_SECONDS,
    TEXT,
    Memory,
    dial,
    frame,
    read_close,
    read_to_the_end,
    reset,
    shake_hands,
)
from running import ServiceProcess, pcm, service_process, start_message
from steady_calls import ExostreamkitCall, steady_calls
from waiting import until_state

MIB = 1024 * 1024
FLOOD_SECONDS = 1.0
START_SECONDS = 1.5
DRIP_SECONDS = START_SECONDS + 0.5
SLOWEST_ACK_SECONDS = 2.0
SLOWEST_HANDSHAKE_SECONDS = 1.0
RECONNECTS = 2_000
DRIPPING = 400

pytestmark = [
    pytest.mark.long(20),
    pytest.mark.skipif(not CAN_BE_MEASURED, reason="memory is read from /proc"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab(appendonly="no") as broker:  # what is flooded in is not to be written to a disk
        yield broker


@pytest.fixture
def service(lab: BrokerLab, tmp_path: Path) -> Iterator[ServiceProcess]:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": lab.url,
        "SUPPORT_EXOTEL": "true",
        "START_TIMEOUT_SECONDS": str(START_SECONDS),
        "RETENTION_SECONDS": "60",
        "RESUME_SECONDS": "0",
    }
    with service_process(environment, tmp_path / "log") as process:
        yield process


def text(message: dict[str, Any]) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


async def flood(port: int, opening: bytes, piece: bytes, *, is_closed: bool = False) -> int:
    """Send pieces as fast as they are taken, reading all replies; return how many were.

    Unless it `is_closed`, the service must not hang up.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    async with asyncio.timeout(LIMIT_SECONDS):
        await reader.readuntil(b"\r\n\r\n")
    writer.write(opening)
    hearing = asyncio.create_task(hear(reader))
    sent = 0
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLOOD_SECONDS):
                while True:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                    sent += 1
        assert is_closed or not hearing.done()
    finally:
        hearing.cancel()
        writer.transport.abort()
    return sent


async def hear(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(65_536):
            pass


# The floods


async def frames_of_one_sample(port: int, name: str) -> int:
    samples = b"".join(frame(BINARY, pcm(n, 2)) for n in range(500))
    return 500 * await flood(port, text(start_message(name)), samples)


async def frames_of_one_byte(port: int, name: str) -> int:
    """Each is refused; with a sample now and then no connection is closed for it."""
    few = frame(BINARY, b"x") * 40 + frame(BINARY, pcm(1, 2))
    floods = (flood(port, text(start_message(f"{name}-{n}")), few * 10) for n in range(3))
    return 410 * sum(await asyncio.gather(*floods))


async def frames_after_a_close(port: int, name: str) -> int:
    """The first is no JSON: it is closed 1007, and they send on."""
    samples = b"".join(frame(BINARY, pcm(n, 2)) for n in range(500))
    floods = (flood(port, b"", samples, is_closed=True) for _ in range(5))
    return 500 * sum(await asyncio.gather(*floods))


async def handshakes_a_byte_at_a_time(port: int, name: str) -> int:
    socks = [await dial(port) for _ in range(DRIPPING)]
    loop = asyncio.get_running_loop()
    until = loop.time() + DRIP_SECONDS
    sent = 0
    try:
        while loop.time() < until:
            for sock in socks:
                with suppress(OSError):
                    sent += sock.send(HANDSHAKE[:-4][sent % 50 :][:1])
            await asyncio.sleep(0.02)
        answers = await asyncio.gather(*map(_answer, socks))
    finally:
        for sock in socks:
            sock.close()
    assert all(b"HTTP/1.1 4" in answer for answer in answers if answer)
    return sent


async def _answer(sock: socket.socket) -> bytes:
    try:
        return await read_to_the_end(sock)
    except ConnectionError:  # it had sent more than was read
        return b""


async def reconnects(port: int, name: str) -> int:
    """Resets after nothing, half a handshake, a whole one, and a start that resumes one stream."""
    loop = asyncio.get_running_loop()
    start = text(start_message(name, resume=True)) + frame(BINARY, pcm(1))
    ways = (b"", HANDSHAKE[:-40], HANDSHAKE, HANDSHAKE + start)
    for turn in range(RECONNECTS):
        sock = await dial(port)
        await loop.sock_sendall(sock, ways[turn % len(ways)])
        if turn % 8 == 7:  # every other start is heard before it is cut
            await loop.sock_recv(sock, 1)
        reset(sock)
    return RECONNECTS


async def marks_of_3500_bytes(port: int, name: str) -> int:
    def opening(stream: str) -> bytes:
        inner = {"stream_sid": stream, "call_sid": stream, "account_sid": "tenant-abc"}
        return text({"event": "start", "stream_sid": stream, "start": inner})

    def signal(event: str, field: str) -> bytes:
        return text({"event": event, event: {field: "x" * 3_450}})

    both = signal("mark", "name") + signal("dtmf", "digit")
    floods = (flood(port, opening(f"{name}-{n}"), both * 5) for n in range(3))
    return 10 * sum(await asyncio.gather(*floods))


async def frames_of_100_kb(port: int, name: str) -> int:
    big = frame(BINARY, pcm(1, 100_000))
    floods = (
        flood(port, text(start_message(f"{name}-{n}", sample_rate=48_000)), big) for n in range(3)
    )
    return sum(await asyncio.gather(*floods))


async def pings_and_a_reset(port: int, name: str) -> int:
    """What was read when the connection is reset is not taken apart in one go."""
    pings = frame(0x9, b"") * 20_000
    loop = asyncio.get_running_loop()
    for _ in range(5):
        socks = [await shake_hands(port) for _ in range(30)]
        for sock in socks:
            with suppress(BlockingIOError):
                sock.send(pings)
        await asyncio.sleep(0.005)
        for sock in socks:
            reset(sock)
        asked = loop.time()
        (await shake_hands(port)).close()
        assert loop.time() - asked < SLOWEST_HANDSHAKE_SECONDS
    return 5 * 30


Flood = Callable[[int, str], Awaitable[int]]

FLOODS: dict[Flood, tuple[int, int]] = {
    frames_of_one_sample: (20 * MIB, 5_000),
    frames_after_a_close: (20 * MIB, 5_000),
    frames_of_one_byte: (20 * MIB, 2_000),
    handshakes_a_byte_at_a_time: (20 * MIB, 1_000),
    reconnects: (24 * MIB, RECONNECTS),
    marks_of_3500_bytes: (20 * MIB, 500),
    pings_and_a_reset: (20 * MIB, 150),
    frames_of_100_kb: (30 * MIB, 100),
}
"""What may be taken in memory, and how much of it has to be sent to be a flood at all.

Frames of 100 kB are good audio at 48 kHz: three senders fill the `BUFFER_SECONDS` they may have,
13 MB, and what is kept of them after the ack.
"""


@pytest.mark.parametrize("flooding", FLOODS, ids=lambda flood: flood.__name__)
async def test_a_flood_takes_little_memory_and_no_other_call_notices(
    service: ServiceProcess, lab: BrokerLab, name: str, flooding: Flood
) -> None:
    most_bytes, least = FLOODS[flooding]
    async with steady_calls(service.url, name) as calls:
        await warm(service, calls[0])
        memory = Memory(service.process.pid)
        watching = asyncio.create_task(memory.watch())
        spoken = [call.frames for call in calls]
        sent = await flooding(service.port, f"{name}-flood")
        watching.cancel()
        assert all(call.frames > before for call, before in zip(calls, spoken, strict=True))
    grown = memory.grown
    with lab.client() as broker:
        for call in calls:
            call.assert_whole(broker)
    assert service.process.poll() is None
    assert sent >= least
    assert grown < most_bytes
    assert calls[0].slowest_ack < SLOWEST_ACK_SECONDS


async def warm(service: ServiceProcess, call: ExostreamkitCall) -> None:
    """Have the service do once what it does for every call."""
    for number in range(5):
        short = await ExostreamkitCall.dial(service.url, f"{call.name}-warm-{number}")
        for seq in range(20):
            await short.say_frame(seq)
        short.frames = 20
        await short.finish()
    await call.hear_ack(9)


# Replies that are not read


async def test_a_sender_that_never_reads_its_replies_is_closed_1008(
    service: ServiceProcess, lab: BrokerLab, name: str
) -> None:
    deaf = f"{name}-deaf"
    refused = frame(TEXT, b"{") * 40 + frame(BINARY, pcm(1, 2))
    async with steady_calls(service.url, name) as calls:
        await warm(service, calls[0])
        memory = Memory(service.process.pid)
        watching = asyncio.create_task(memory.watch())
        sock = await shake_hands(service.port)
        flooding = asyncio.create_task(_say_for_ever(sock, text(start_message(deaf)), refused))
        with lab.client() as broker:
            await until_state(broker, deaf, "ended")
            flooding.cancel()
            assert not flooding.done()
            grown = memory.grown
            watching.cancel()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)  # at last, and fast
            assert await read_close(sock) == 1008
            sock.close()
            assert service.metric("ingest_closes_total", code="1008", reason="replies_unread") == 1
            found = entries(broker, deaf)
    with lab.client() as broker:
        for call in calls:
            call.assert_whole(broker)
    assert [e["type"] for _, e in found].count("ended") == 1
    assert found[-1][1]["data"]["reason"] == "disconnected"
    ledger = found[-1][1]["data"]["ledger"]
    assert ledger["rejected"] >= 1_000
    assert ledger["received"] == ledger["published"] + ledger["rejected"]
    assert ledger["published"] == len(found) - 2
    assert grown < 20 * MIB


async def _say_for_ever(sock: socket.socket, opening: bytes, piece: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, opening)
    while True:
        await loop.sock_sendall(sock, piece)
