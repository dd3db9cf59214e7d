"""Peers that write bytes by hand: handshakes and frames as no library would send them."""

import asyncio
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

LIMIT_SECONDS = 20.0
HANDSHAKE = (
    b"GET /v1/ingest HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE = 0x1, 0x2, 0x8
FIN, RSV1, MASKED = 0x80, 0x40, 0x80
RESETS = struct.pack("ii", 1, 0)
"""SO_LINGER under which a close is an RST."""


def frame(opcode: int, payload: bytes, *, rsv1: bool = False, masked: bool = True) -> bytes:
    """A whole message; the mask is zero, so that the payload stays as it is."""
    first, mask_bit = FIN | (RSV1 if rsv1 else 0) | opcode, MASKED if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, mask_bit | len(payload))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    return head + (bytes(4) if masked else b"") + payload


async def dial(port: int) -> socket.socket:
    """A connection whose kernel takes little of what it does not read."""
    with ExitStack() as opened:
        sock = opened.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        opened.pop_all()
    return sock


async def shake_hands(port: int) -> socket.socket:
    """A WebSocket of which nothing but the handshake is read."""
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        sock = opened.enter_context(await dial(port))
        async with asyncio.timeout(LIMIT_SECONDS):
            await loop.sock_sendall(sock, HANDSHAKE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = await loop.sock_recv(sock, 1)
                assert byte, head
                head += byte
        assert head.startswith(b"HTTP/1.1 101")
        opened.pop_all()
    return sock


async def read_to_the_end(sock: socket.socket) -> bytes:
    """Everything that is still to be read, up to the end of the connection."""
    received = bytearray()
    async with asyncio.timeout(LIMIT_SECONDS):
        while data := await asyncio.get_running_loop().sock_recv(sock, 65_536):
            received += data
    return bytes(received)


def reset(sock: socket.socket) -> None:
    """Close with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
    sock.close()


async def read_close(sock: socket.socket) -> int:
    """Read frames of a server, which masks none, up to a close; return its code."""

    async def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
            assert more, "the connection ended without a close"
            data += more
        return data

    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            first, length = await exactly(2)
            if length > 125:
                length = int.from_bytes(await exactly(2 if length == 126 else 8), "big")
            payload = await exactly(length)
            if first == FIN | CLOSE:
                return int.from_bytes(payload[:2], "big")


class Memory:
    """What a process takes beside what it took when this began; `watch` it meanwhile."""

    def __init__(self, process_id: int) -> None:
        self._status = Path(f"/proc/{process_id}/status")
        self._before = self._most = self._resident()

    @property
    def grown(self) -> int:
        """Most bytes that there were more at any time that was looked."""
        self._most = max(self._most, self._resident())
        return self._most - self._before

    async def watch(self) -> None:
        """Look often, until cancelled."""
        while True:
            self._most = max(self._most, self._resident())
            await asyncio.sleep(0.02)

    def _resident(self) -> int:
        line = next(
            line for line in self._status.read_text().splitlines() if line.startswith("VmRSS")
        )
        return int(line.split()[1]) * 1024


CAN_BE_MEASURED = Path("/proc/self/status").exists()
