"""WebSocket by hand: frames as bytes, and a peer over a plain socket that sends what it is told.

Written from RFC 6455 and sharing nothing with a library, so that it can judge one.
"""

import base64
import socket
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from hashlib import sha1
from typing import NamedTuple, Self

LIMIT_SECONDS = 5.0
"""Below the 10 s after which a server gives up by itself what it should have ended at once."""

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MASK = b"\x37\xfa\x21\x3d"
"""The masking key of the examples in the RFC."""

KEY = base64.b64encode(b"sixteen bytes..!")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def masked(payload: bytes, mask: bytes) -> bytes:
    """Apply a masking key, 5.3."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def header(opcode: int, length: int, *, fin: bool = True, rsv: int = 0, wide: int = 0) -> bytes:
    """Return the header of a masked frame up to its masking key, 5.2.

    `wide` is how many bytes say the length, 2 or 8; with 0 as few as can.
    """
    first = fin << 7 | rsv << 4 | opcode
    if wide == 8 or length > 0xFFFF:
        return bytes([first, 0xFF]) + length.to_bytes(8)
    if wide == 2 or length > 125:
        return bytes([first, 0xFE]) + length.to_bytes(2)
    return bytes([first, 0x80 | length])


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes = MASK,
    wide: int = 0,
) -> bytes:
    """Return a masked frame."""
    head = header(opcode, len(payload), fin=fin, rsv=rsv, wide=wide)
    return head + mask + masked(payload, mask)


def unmasked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame as only a server may send it."""
    head = header(opcode, len(payload), fin=fin)
    return bytes([head[0], head[1] & 0x7F]) + head[2:] + payload


def fragments(opcode: int, parts: Iterable[bytes]) -> list[bytes]:
    """Return a message as frames, one for each part, 5.4."""
    pieces = list(parts)
    return [
        frame(CONT if n else opcode, piece, fin=n == len(pieces) - 1)
        for n, piece in enumerate(pieces)
    ]


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, code.to_bytes(2) + reason)


class Frame(NamedTuple):
    """A frame from the server: whole, unmasked, without extensions."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """The code of a close, if it has one."""
        return int.from_bytes(self.payload[:2]) if self.payload else None


def take_frame(data: bytearray) -> Frame | None:
    """Take one frame off `data`; None if it is not all there. What a server must not send fails."""
    if len(data) < 2:
        return None
    assert data[0] & 0xF0 == 0x80, "a fragment, or an extension"
    assert data[1] < 0x80, "a server must not mask"
    length, start = data[1], 2
    if length > 125:
        start = 4 if length == 126 else 10
        if len(data) < start:
            return None
        wide, length = length, int.from_bytes(data[2:start])
        assert length > (125 if wide == 126 else 0xFFFF), "a length that is not minimal"
    if len(data) < start + length:
        return None
    whole = Frame(data[0] & 0x0F, bytes(data[start : start + length]))
    del data[: start + length]
    return whole


class Peer:
    """A client over a plain socket, after its handshake; `with` closes it.

    `early` is sent in one piece with the handshake, after it.
    """

    def __init__(
        self, port: int, path: str, *, receive_buffer: int = 0, early: bytes = b""
    ) -> None:
        self._received = bytearray()
        self._sending: list[threading.Thread] = []
        self.was_reset = False
        with ExitStack() as opened:
            self._socket = opened.enter_context(socket.socket())
            self._socket.settimeout(LIMIT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._socket.connect(("127.0.0.1", port))
            self._socket.sendall(
                b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
                % (path.encode(), KEY)
                + early
            )
            opened.pop_all()

    def shake(self) -> Self:
        """Read the answer to the handshake."""
        while b"\r\n\r\n" not in self._received:
            assert self._read(), self._received
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        lines = bytes(head).lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 101 ")
        accepted = base64.b64encode(sha1(KEY + _GUID, usedforsecurity=False).digest())
        assert b"sec-websocket-accept: " + accepted.lower() in lines
        return self

    def _read(self) -> bool:
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            self.was_reset = True
            return False
        self._received += data
        return bool(data)

    def send(self, *pieces: bytes) -> None:
        """Send all at once."""
        self._socket.sendall(b"".join(pieces))

    def send_beside(self, *pieces: bytes) -> None:
        """Send from a thread, as far as the server takes it."""
        thread = threading.Thread(target=self._send_as_far_as_taken, args=pieces, daemon=True)
        self._sending.append(thread)
        thread.start()

    def _send_as_far_as_taken(self, *pieces: bytes) -> None:
        with suppress(OSError):
            self.send(*pieces)

    def finish(self) -> None:
        """Say that nothing more will be sent: EOF without a close."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Hang up so that the server gets an RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def next(self) -> Frame:
        """Return the next frame."""
        while (answer := take_frame(self._received)) is None:
            assert self._read(), "the connection ended"
        return answer

    def rest(self) -> list[Frame]:
        """Return everything up to the end of the connection."""
        while self._read():
            pass
        frames = []
        while (answer := take_frame(self._received)) is not None:
            frames.append(answer)
        assert not self._received, "the connection ended inside a frame"
        return frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # reset already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._sending:
            thread.join(LIMIT_SECONDS)
