"""One WebSocket from the sender's side, without a library: writes bytes as they are."""

import base64
import os
import socket

from benchmarks.frames import CLOSE, whole_frame

ANSWER_SECONDS = 20.0
"""How long a handshake may take."""

_PATH = "/v1/ingest"
_RECEIVE_BYTES = 65_536
_SIZE = 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127
_REFUSED = b'{"event":"error"'


class LineFailed(Exception):
    """The handshake was refused, or the connection broke before the server closed it."""


class Line:
    """A connection, open once it is made; from then on it never waits.

    `is_closed` is set by the server's close frame, whose code is `code`; `refusals` counts replies
    of the event `error`.

    Raises:
        LineFailed: no server, or not the answer 101.

    """

    def __init__(self, port: int) -> None:
        self.is_closed = False
        self.code: int | None = None
        self.refusals = 0
        self._waiting: memoryview = memoryview(b"")
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._heard = self._shake_hands(port)
        except OSError as error:
            raise LineFailed(f"no handshake: {error}") from error
        self.socket.settimeout(0)

    def _shake_hands(self, port: int) -> bytearray:
        """Return what came after the answer."""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            received = self.socket.recv(_RECEIVE_BYTES)
            if not received:
                raise LineFailed("the server hung up in the handshake")
            answer += received
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise LineFailed(f"the handshake was refused: {bytes(head[:40])!r}")
        return rest

    @property
    def has_waiting(self) -> bool:
        """Whether something is written and not yet taken by TCP."""
        return bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Write; what TCP does not take now waits for `flush`."""
        if self._waiting:
            self._waiting = memoryview(bytes(self._waiting) + data)
        else:
            self._waiting = memoryview(data)
        self.flush()

    def flush(self) -> None:
        """Write on what waits.

        Raises:
            LineFailed: the server is gone.

        """
        while self._waiting:
            try:
                sent = self.socket.send(self._waiting)
            except BlockingIOError:
                return
            except OSError as error:
                raise LineFailed(f"cannot send: {error}") from error
            self._waiting = self._waiting[sent:]

    def read(self) -> None:
        """Take in what the server says; answer its close.

        Raises:
            LineFailed: it hung up without a close frame.

        """
        try:
            received = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise LineFailed(f"cannot receive: {error}") from error
        if not received:
            raise LineFailed("the server hung up without a close")
        self._heard += received
        self._take_in()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _take_in(self) -> None:
        heard = self._heard
        at = 0
        while len(heard) - at >= 2:  # noqa: PLR2004  # the shortest header
            start, size = at + 2, heard[at + 1] & _SIZE
            if size in (_LENGTH_16, _LENGTH_64):
                width = 2 if size == _LENGTH_16 else 8
                size = int.from_bytes(heard[start : start + width])
                start += width
            if len(heard) < start + size:
                break
            self._take(heard[at] & 0xF, heard[start : start + size])
            at = start + size
        del heard[:at]

    def _take(self, opcode: int, payload: bytearray) -> None:
        if opcode == CLOSE:
            self.is_closed = True
            self.code = int.from_bytes(payload[:2]) if payload else None
            self.write(whole_frame(CLOSE, bytes(payload[:2])))
        elif payload.startswith(_REFUSED):
            self.refusals += 1
