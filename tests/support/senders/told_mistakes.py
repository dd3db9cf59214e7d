"""Mistakes of senders, made over raw sockets, and the services that tell the operator of them."""

import asyncio
import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from log_lines import CLOSED, REFUSED, Line, complaints_of, lines_of
from raw_peer import TEXT, frame, read_close
from running import ServiceProcess

LIMIT_SECONDS = 20.0
FLOOD = 200
AT_ONCE = 100
"""How many of a flood are in flight at a time."""

HEAD = b"Host: x\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
SECRET = "s3cret-that-is-in-no-line"


def request(path: str = "/v1/ingest", more: bytes = b"", *, upgrade: bytes = UPGRADE) -> bytes:
    target = f"{path}?token={SECRET}".encode()
    return b"GET " + target + b" HTTP/1.1\r\n" + HEAD + upgrade + KEY + more + b"\r\n"


def basic(user: str, password: str) -> bytes:
    pair = base64.b64encode(f"{user}:{password}".encode())
    return b"Authorization: Basic " + pair + b"\r\n"


PAIR = basic("key", "word")


def text(message: Any) -> bytes:
    return frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode())


def agentstream_start(**fields: Any) -> dict[str, Any]:
    start = {"call_sid": "call-1", "account_sid": "acct", "stream_sid": "stream-1", **fields}
    return {"event": "start", "start": {k: v for k, v in start.items() if v is not None}}


async def answer(port: int, sent: bytes) -> int:
    """Send a request, and return the status of its answer once the connection is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            writer.write(sent)
            received = await reader.read()
    finally:
        writer.close()
    return int(received.split(b" ", 2)[1])


async def close_code(port: int, sent: bytes, frames: bytes) -> int:
    """Shake hands, send frames, and return the code of the close."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(LIMIT_SECONDS):
            await loop.sock_sendall(sock, sent)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(sock, 1)
            assert head.startswith(b"HTTP/1.1 101"), head
            await loop.sock_sendall(sock, frames)
            return await read_close(sock)


@dataclass(frozen=True)
class Mistake:
    """What a sender does wrong, and what the operator is told of it."""

    sent: bytes
    status: int
    """Of the answer, or the code of the close."""
    reason: str
    explanation: str
    frames: bytes = b""
    facts: tuple[tuple[str, object], ...] = ()
    bad_hops: bool = False

    @property
    def is_close(self) -> bool:
        return self.status >= 1000

    async def make(self, port: int) -> None:
        if self.is_close:
            assert await close_code(port, self.sent, self.frames) == self.status
        else:
            assert await answer(port, self.sent) in (self.status, 429)

    def metric(self, service: ServiceProcess) -> float:
        if self.is_close:
            code = str(self.status)
            return service.metric("ingest_closes_total", code=code, reason=self.reason)
        return service.metric("ingest_handshakes_total", outcome=self.reason)

    def lines(self, log: Path) -> list[Line]:
        kind = "code" if self.is_close else "status"
        events = CLOSED if self.is_close else REFUSED
        return [
            line
            for line in lines_of(log, events)
            if (line[kind], line["reason"]) == (self.status, self.reason)
        ]


def complaints(log: Path) -> list[Line]:
    """Warnings and worse, but for the one that a sender came past the proxies: most here do."""
    return [line for line in complaints_of(log) if "X-Forwarded-For" not in line["event"]]


Services = Callable[[Mistake], ServiceProcess]


@contextmanager
def telling_services(redis_url: str, public_pem: str, logs: Path) -> Iterator[Services]:
    """Processes that let in who is right, behind one proxy, and behind two that are not there."""
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": redis_url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "key",
        "EXOTEL_PASSWORD": "word",
        "EXOTEL_TENANTS": "acct",
        "EXOTEL_ALLOWED_IPS": "127.0.0.0/8",
        "JWT_PUBLIC_KEY": public_pem,
        "START_TIMEOUT_SECONDS": "1",
        "RESUME_SECONDS": "0.2",
        "LOG_LEVEL": "debug",
    }
    running = {
        hops: ServiceProcess({**environment, "TRUSTED_PROXY_HOPS": hops}, logs / hops)
        for hops in ("1", "2")
    }
    try:
        for service in running.values():
            service.wait_until_ready()
        yield lambda mistake: running["2" if mistake.bad_hops else "1"]
    finally:
        for service in running.values():
            service.kill()
    for service in running.values():
        written = service.log.read_text()
        for secret in (SECRET, "token=", "someuser", "Basic ", "Traceback"):
            assert secret not in written
