"""Peers that mean harm, over raw sockets: what becomes of them, and that no other call notices."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from published import Broker, audio
from raw_streams import HANDSHAKE, LIMIT_SECONDS, answer, connect
from raw_websocket import CLOSE, frame, take_frame
from running import Caller, Keys, Service, audio_message, pcm, service_process, start_message
from waiting import until, wait_until
from websockets.exceptions import InvalidStatus

from adapters.outbound.redis_streams.embedded import EmbeddedValkey


async def shaken(service: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connect(service)
    writer.write(HANDSHAKE + b"\r\n")
    async with asyncio.timeout(LIMIT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


async def close_code(reader: asyncio.StreamReader) -> int | None:
    """Read the answer to a handshake and what is after it, up to a close; return its code."""
    received = bytearray()
    async with asyncio.timeout(LIMIT_SECONDS):
        await reader.readuntil(b"HTTP/1.1 101 ")
        await reader.readuntil(b"\r\n\r\n")
        while (found := take_frame(received)) is None or found.opcode != CLOSE:
            if found is None:
                received += await reader.readexactly(1)
    return found.code


@pytest.mark.parametrize("before", [b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_call_sent_in_one_segment_with_its_handshake_is_published(
    service: Service, broker: Broker, name: str, before: bytes
) -> None:
    messages = [start_message(name), *(audio_message(seq, pcm(seq)) for seq in range(60))]
    reader, writer = await connect(service)
    frames = [frame(1, json.dumps(message).encode()) for message in (*messages, {"event": "end"})]
    writer.write(before + HANDSHAKE + b"\r\n" + b"".join(frames))
    assert await close_code(reader) == 1000
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(60)]
    writer.close()


async def test_frames_of_one_sample_by_the_thousand_all_arrive_in_order(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    sock = caller.socket.transport
    samples = [bytes([n % 256, n // 256 % 256]) for n in range(20_000)]
    sock.write(b"".join(frame(0x2, sample) for sample in samples))
    ledger = await caller.end()
    assert ledger["published"] == len(samples)
    assert [found for _, found in audio(broker, name)] == samples


async def test_a_sender_that_resets_right_after_it_spoke_loses_nothing_that_was_read(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    caller.socket.transport.write(b"".join(frame(0x2, pcm(n, 2)) for n in range(5_000)))
    await caller.hear_ack(9)
    caller.reset()
    received = await asyncio.to_thread(_until_settled, service, broker, name)
    assert [seq for seq, _ in audio(broker, name)] == list(range(received))


def _until_settled(service: Service, broker: Broker, name: str) -> int:
    key = f"rtaa:interaction:{{tenant-abc/{name}}}"
    wait_until(lambda: broker.hget(key, "state") == b"ended")
    return len(audio(broker, name))


async def test_a_message_that_drips_and_has_no_end_is_closed_as_silence(
    start_service: Any, name: str
) -> None:
    service = start_service(IDLE_TIMEOUT_SECONDS="1")
    reader, writer = await connect(service)
    start = json.dumps(start_message(name)).encode()
    writer.write(HANDSHAKE + b"\r\n" + frame(1, start))
    dripping = asyncio.create_task(drip(writer, frame(1, bytes(200_000))[:-1]))
    assert await close_code(reader) == 4408
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    writer.close()
    assert service.metric("ingest_closes_total", code="4408", reason="idle") == 1


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    for byte in piece:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_floods_cost_little_memory_and_no_other_call(
    valkey: EmbeddedValkey, name: str, tmp_path: Path
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "START_TIMEOUT_SECONDS": "2",
    }
    with service_process(environment, tmp_path / "log") as service:
        bystander = await Caller.dial(service.url)
        await bystander.start(name)
        await bystander.speak(0)
        before = resident_bytes(service.process.pid)
        flooding = [
            asyncio.create_task(flood(service, frame(0x9, b"p" * 125) * 500)) for _ in range(5)
        ]
        flooding += [
            asyncio.create_task(
                flood(service, frame(0x0, fin=False) * 5_000, frame(0x2, fin=False))
            )
            for _ in range(5)
        ]
        silent = [await connect(service) for _ in range(200)]
        for seq in range(1, 50):
            await bystander.speak(seq)
            await asyncio.sleep(0.02)
        await bystander.hear_ack(39)
        await asyncio.gather(*flooding)
        grown = resident_bytes(service.process.pid) - before
        assert grown < 20 * 1024 * 1024
        for reader, writer in silent:
            assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")
            writer.close()
        ledger = await bystander.end()
        assert (ledger["published"], ledger["missing"], ledger["lost"]) == (50, 0, 0)


async def flood(service: Any, piece: bytes, first: bytes = b"") -> None:
    """Send without reading until the service hangs up, or 40 MB."""
    _, writer = await shaken(service)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(first)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            for _ in range(40_000_000 // len(piece)):
                writer.write(piece)
                await writer.drain()
    except OSError:
        return
    finally:
        writer.transport.abort()


async def test_hundreds_of_connections_reset_leave_nothing_behind(
    start_service: Any, name: str
) -> None:
    service = start_service(MAX_STREAMS="50", RESUME_SECONDS="0")
    for n in range(300):
        caller = await Caller.dial(service.url)
        if n % 3:
            await caller.say({"event": "connected"} if n % 2 else {"event": "start"})
        caller.reset()
    await until(lambda: service.senders == 0)
    callers = [await Caller.dial(service.url) for _ in range(50)]
    for n, caller in enumerate(callers):
        await caller.start(f"{name}-{n}")


async def test_right_credentials_are_never_refused_by_the_brake(
    start_service: Any, keys: Keys, name: str
) -> None:
    service = start_service(SUPPORT_EXOTEL="", JWT_PUBLIC_KEY=keys.public_pem)
    for _ in range(19):
        with pytest.raises(InvalidStatus):
            await Caller.dial(service.url, {"Authorization": "Bearer wrong"})
    delayed = asyncio.create_task(Caller.dial(service.url, {"Authorization": "Bearer wrong"}))
    caller = await Caller.dial(service.url, keys.bearer(tenant_id="tenant-abc"))
    assert not delayed.done()
    assert (await caller.start(name))["generation"] == 1
    with pytest.raises(InvalidStatus) as refused:
        await delayed
    assert refused.value.response.status_code == 401
