"""uvicorn's two protocols, with the holes closed that no setting closes, and one of them fast.

Written against uvicorn 0.54.0, whose internals are used; a test fails when that changes. What a
hostile peer could do to the stock classes, and what becomes of it here:

    connect and be silent, or send a request slowly     408 after START_TIMEOUT_SECONDS
    send a handshake with long or many header lines     431; the WebSocket parser would never answer
    send a request with an endless body                 413; nothing here takes one
    ping without reading the pongs                      aborted when 256 KiB of them wait
    send a message in endless empty fragments           1008 after 1024
    send tens of thousands of tiny frames in one read   parsed in slices, others get their turn
    send faster than its messages are taken             not read when 136 KiB wait
    be told to close and never read it                  aborted 10 s later

The bulk of what comes is whole, unfragmented, masked data frames. Those are read here, straight
from the buffer that the socket was read into; every other frame, and everything that is wrong, is
left to the library `websockets`, which is given whole frames and so is always between two of them.
"""

import asyncio
import threading
from collections import deque
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined]  # C, or not
from websockets.protocol import State

WRITTEN_AGAINST = "0.54.0"

REQUEST_SECONDS = 10.0
"""How long a connection may take for a complete request, unless the class is told otherwise."""

MAX_HEADER_LINE_BYTES = 8_000
MAX_HEADERS = 100
"""Below the limits of websockets' handshake parser (8192 bytes a line, 128 lines), which raises."""

MAX_UNREAD_BYTES = 256 * 1024
"""What may wait to be written to a peer that does not read, beyond our replies."""

MAX_FRAGMENTS = 1_024

READ_BYTES = 128 * 1024
"""Most that is read from a socket at once; a process has one buffer of it for all connections."""

MOST_WAITING_BYTES = READ_BYTES + 8 * 1024
"""Messages that the application has not taken, beyond which the socket is not read: what is read at
once is less, so that nobody who is heard at once is ever paused."""

RECEIVE_NOW = "rtaa.receive_now"
"""The ASGI extension by which the application takes messages that are there without awaiting each:
`scope["extensions"][RECEIVE_NOW]["call"]()`."""

MESSAGE_BYTES = 256
"""What a message takes beside its payload."""

MOST_FRAMES_AT_ONCE = 256
"""Frames taken in one turn of the loop, a millisecond or two; then others get their turn."""

LINGER_SECONDS = 10.0

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
HEADERS_TOO_LARGE = TIMED_OUT.replace(
    b"408 Request Timeout", b"431 Request Header Fields Too Large"
)


BODY_NOT_TAKEN = TIMED_OUT.replace(b"408 Request Timeout", b"413 Content Too Large")

REQUEST_SLICE_BYTES = 4_096
"""What is parsed before it is looked whether the request has a body."""


class HardenedHttp(H11Protocol):
    """HTTP/1.1 with a time limit for requests and limits for the headers of a handshake."""

    request_seconds = REQUEST_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self._request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_expecting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and wait no more once a request is complete; one with a body is refused."""
        before = self.scope
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self._request_timer is None:
            self._expect_request()
        for place in range(0, len(data), REQUEST_SLICE_BYTES):
            super().data_received(data[place : place + REQUEST_SLICE_BYTES])
            if self.scope is not before:
                self._stop_expecting()
                if self._has_body():
                    self.transport.write(BODY_NOT_TAKEN)
                    self.transport.close()
            if self.transport.is_closing():
                return

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
            for name, value in self.headers
        )

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand over to the WebSocket protocol, if its parser can take the headers."""
        longest = max((len(name) + len(value) for name, value in self.headers), default=0)
        too_long = max(longest, len(event.target)) > MAX_HEADER_LINE_BYTES
        if too_long or len(self.headers) > MAX_HEADERS:
            self.transport.write(HEADERS_TOO_LARGE)
            self.transport.close()
            return
        super().handle_websocket_upgrade(event)

    def _expect_request(self) -> None:
        self._request_timer = self.loop.call_later(self.request_seconds, self._on_no_request)

    def _stop_expecting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _on_no_request(self) -> None:
        self._request_timer = None
        self.transport.write(TIMED_OUT)
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


_Message = tuple[bool, bytes]
"""A message of the peer's: whether it is text, and its mask and masked payload in one."""


class _Inbox:
    """What waits for the application: messages of the peer, and what ASGI says of the connection.

    `size` is the bytes the messages take; one task waits. The rest is what uvicorn uses of
    `asyncio.Queue`.
    """

    __slots__ = ("_waiter", "_waiting", "size")

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, _Message | dict[str, Any]]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.size = 0

    def empty(self) -> bool:
        return not self._waiting

    def put_nowait(self, message: _Message | dict[str, Any], size: int = 0) -> None:
        self._waiting.append((size, message))
        self.size += size
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def pop(self) -> Any:  # noqa: ANN401  # ASGI's, or a message
        size, message = self._waiting.popleft()
        self.size -= size
        return message

    def pop_message(self) -> _Message | None:
        """Return the next if it is a message of the peer's."""
        waiting = self._waiting
        if not waiting or type(waiting[0][1]) is dict:
            return None
        message: _Message = self.pop()
        return message

    def drop_messages(self) -> None:
        """Leave only what ASGI says of the connection."""
        self._waiting = deque(it for it in self._waiting if type(it[1]) is dict)
        self.size = 0

    async def wait(self) -> None:
        """Wait until there is something."""
        if not self._waiting:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class _ReadBuffer(threading.local):
    """What sockets are read into; each loop has its thread."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))


_read_buffer = _ReadBuffer()

_TEXT = 0x81
_WHOLE_DATA = (_TEXT, 0x82)
"""First byte of a text or binary frame that is a whole message: FIN, no extension, opcode."""

_MASKED = 0x80
_MASK_BYTES = 4
_NO_MASK = bytes(_MASK_BYTES)
_SHORTEST_HEADER = 2


def _measure(data: bytes | memoryview, place: int) -> tuple[int, int]:
    """Return where the payload of the frame at `place` begins, and where the frame ends.

    Two bytes of it are there; when those that say its length are not, the end of the header counts.
    """
    length = data[place + 1] & ~_MASKED
    payload = place + _SHORTEST_HEADER + _MASK_BYTES
    if length < 126:  # noqa: PLR2004  # RFC 6455, 5.2
        return payload, payload + length
    size = 2 if length == 126 else 8  # noqa: PLR2004
    payload += size
    if payload > len(data):
        return payload, payload
    start = place + _SHORTEST_HEADER
    return payload, payload + int.from_bytes(data[start : start + size], "big")


class HardenedWebSocket(WebSocketsSansIOProtocol, asyncio.BufferedProtocol):
    """WebSocket whose peer can make it hold little and work little at a time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self.queue: Any = _Inbox()
        self._view = _read_buffer.view
        self._most_bytes = self.config.ws_max_size
        self._begun = bytearray()
        self._needed = 0
        self._unparsed = b""

    # From the socket

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint
        """Return what is read into."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        data = self._view[:nbytes]
        if self._unparsed:  # only once we have closed: else nothing is read meanwhile
            self._unparsed += data
            return
        while self._begun and data:
            missing = self._needed - len(self._begun)
            self._begun += data[:missing]
            data = data[missing:]
            if len(self._begun) == self._needed:
                begun, self._begun = self._begun, bytearray()
                self._parse(bytes(begun))
        if data:
            self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Parse what was read before the connection was lost, then say that it is."""
        while self._unparsed and not self.close_sent:
            self._parse_rest()
        self._forget_unparsed()
        super().connection_lost(exc)

    def _parse(self, data: bytes | memoryview) -> None:
        """Take every whole frame, up to so many; keep what is left of a frame for later."""
        place, end, queue = 0, len(data), self.queue
        is_heard = self._is_heard
        for _ in range(MOST_FRAMES_AT_ONCE):
            if end - place < _SHORTEST_HEADER:
                self._begin(data[place:], _SHORTEST_HEADER)
                break
            payload, after = _measure(data, place)
            if data[place + 1] < _MASKED or after - payload > self._most_bytes:
                self._leave_to_library(data[place:])
                return
            if after > end:
                self._begin(data[place:], after - place)
                break
            first = data[place]
            if is_heard and first in _WHOLE_DATA:
                masked = bytes(data[payload - _MASK_BYTES : after])
                queue.put_nowait((first == _TEXT, masked), len(masked) + MESSAGE_BYTES)
            elif self.conn.state is State.CLOSED or self.conn.parser_exc is not None:
                return
            elif self.conn.state is not State.CLOSING or first not in _WHOLE_DATA:
                self._leave_to_library(data[place:after])
                is_heard = self._is_heard
            place = after
        else:
            if place < end:
                self._parse_later(bytes(data[place:]))
        is_too_much = self.queue.size > MOST_WAITING_BYTES and not self.close_sent
        if is_too_much and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    @property
    def _is_heard(self) -> bool:
        """Whether a whole data frame is a message: not after a close, nor inside a message."""
        conn = self.conn
        return conn.state <= State.OPEN and conn.parser_exc is None and conn.current_size is None

    def _begin(self, data: bytes | memoryview, needed: int) -> None:
        """Keep the beginning of a frame until `needed` bytes of it are there."""
        if data:
            self._begun += data
            self._needed = needed

    def _leave_to_library(self, data: bytes | memoryview) -> None:
        if self.conn.parser_exc is None:
            super().data_received(bytes(data))

    def _parse_later(self, rest: bytes) -> None:
        """Read nothing more until the rest of what was read is parsed."""
        self._unparsed = rest
        self.transport.pause_reading()
        self.loop.call_soon(self._parse_rest)

    def _parse_rest(self) -> None:
        rest, self._unparsed = self._unparsed, b""
        if not rest or self.disconnected:
            return
        self._parse(rest)
        if self._unparsed or self.transport.is_closing():
            return
        if not self.read_paused:
            self.transport.resume_reading()

    def _forget_unparsed(self) -> None:
        self._unparsed = b""
        self._begun = bytearray()

    # To the application

    def send_receive_event_to_app(self) -> None:
        """Hand over a message that came in fragments."""
        masked = b"".join((_NO_MASK, *self.frames))
        self.frames = []
        if not self.close_sent:
            is_text = self.curr_msg_data_type == "text"
            self.queue.put_nowait((is_text, masked), len(masked) + MESSAGE_BYTES)

    async def receive(self) -> Any:  # noqa: ANN401  # as uvicorn's
        """Return the next message of ASGI; read on when all were taken and all is parsed."""
        while True:
            message = self.receive_now()
            if self.queue.empty():
                self._read_on()
            if isinstance(message, str):
                return {"type": "websocket.receive", "text": message}
            if message is not None:
                return {"type": "websocket.receive", "bytes": message}
            if not self.queue.empty():
                return self.queue.pop()
            await self.queue.wait()

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if not self._unparsed:
                self.transport.resume_reading()

    def receive_now(self) -> str | bytes | None:
        """Return the peer's next message; None if there is none now, or `receive` knows better.

        It is unmasked and decoded only now: who takes it goes on with it while it is in the cache.
        """
        message = self.queue.pop_message()
        if message is None:
            return None
        is_text, masked = message
        payload = _apply_mask(memoryview(masked)[_MASK_BYTES:], masked[:_MASK_BYTES])
        if not is_text:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            self._refuse_text()
            return None

    def _refuse_text(self) -> None:
        """Close for text that is not UTF-8: nothing that came after it is a message any more."""
        self.queue.drop_messages()
        if not self.close_sent and self.conn.state is State.OPEN:
            self.conn.fail(1007, "text that is not UTF-8")
            self.handle_parser_exception()

    # What a peer must not do

    def handle_ping(self) -> None:
        """Answer, unless the peer does not read its answers."""
        if self.transport.is_closing():  # asyncio logs what is written to what was aborted
            return
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()
            return
        super().handle_ping()

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment, within a bound: empty ones cost the peer nothing."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(1008, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        """Close, and forget what else was read."""
        self._forget_unparsed()
        if self.conn.close_sent is None:  # the handshake is not answered yet: no close was sent
            self.transport.abort()
            return
        super().handle_parser_exception()

    def shutdown(self) -> None:
        """Close, unless the peer has: then only our echo has still to be read."""
        if self.conn.state >= State.CLOSING and not self.close_sent:
            self.transport.close()
            return
        super().shutdown()

    async def run_asgi(self) -> None:
        """Run the application; a peer that does not read the end of it is cut off."""
        self.scope["extensions"][RECEIVE_NOW] = {"call": self.receive_now}
        await super().run_asgi()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)
