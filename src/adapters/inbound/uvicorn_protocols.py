"""uvicorn's two protocols, with the holes closed that no setting closes.

Written against uvicorn 0.54.0, whose internals are used; a test fails when that changes. What a
hostile peer could do to the stock classes, and what becomes of it here:

    connect and be silent, or send a request slowly     408 after START_TIMEOUT_SECONDS
    send a handshake with long or many header lines     431; the WebSocket parser would never answer
    ping without reading the pongs                      aborted when 256 KiB of them wait
    send a message in endless empty fragments           1008 after 1024
    send tens of thousands of tiny frames in one read   parsed in slices, others get their turn
    be told to close and never read it                  aborted 10 s later
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

WRITTEN_AGAINST = "0.54.0"

REQUEST_SECONDS = 10.0
"""How long a connection may take for a complete request, unless the class is told otherwise."""

MAX_HEADER_LINE_BYTES = 8_000
MAX_HEADERS = 100
"""Below the limits of websockets' handshake parser (8192 bytes a line, 128 lines), which raises."""

MAX_UNREAD_BYTES = 256 * 1024
"""What may wait to be written to a peer that does not read, beyond our replies."""

MAX_FRAGMENTS = 1_024

SLICE_BYTES = 16 * 1024
"""What is parsed in one turn of the loop: 2,300 of the tiniest frames, some 15 ms."""

LINGER_SECONDS = 10.0

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
HEADERS_TOO_LARGE = TIMED_OUT.replace(
    b"408 Request Timeout", b"431 Request Header Fields Too Large"
)


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
        """Parse, and wait no more once a request is complete."""
        before = self.scope
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self._request_timer is None:
            self._expect_request()
        super().data_received(data)
        if self.scope is not before:
            self._stop_expecting()

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


class HardenedWebSocket(WebSocketsSansIOProtocol):
    """WebSocket whose peer can make it hold little and work little at a time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self._unparsed = bytearray()

    def data_received(self, data: bytes) -> None:
        """Parse a slice now and the rest in later turns of the loop, reading nothing meanwhile."""
        if not self._unparsed and len(data) <= SLICE_BYTES:
            super().data_received(data)
            return
        is_first = not self._unparsed
        self._unparsed += data
        if is_first:
            self._parse_slice()

    def connection_lost(self, exc: Exception | None) -> None:
        """Parse what was read before the connection was lost, then say that it is."""
        while self._unparsed and not self.close_sent:
            self._take_slice()
        self._unparsed.clear()
        super().connection_lost(exc)

    async def receive(self) -> Any:  # noqa: ANN401  # as uvicorn's
        """Return the next message; read on when all were taken and nothing is left to be parsed."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty() and not self._unparsed:
            self.read_paused = False
            self.transport.resume_reading()
        return message

    def handle_ping(self) -> None:
        """Answer, unless the peer does not read its answers."""
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
        self._unparsed.clear()
        super().handle_parser_exception()

    async def run_asgi(self) -> None:
        """Run the application; a peer that does not read the end of it is cut off."""
        await super().run_asgi()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _parse_slice(self) -> None:
        if self.disconnected:
            return
        self._take_slice()
        if self._unparsed:
            self.transport.pause_reading()
            self.loop.call_soon(self._parse_slice)
            return
        if self.queue.empty():  # all was taken while there was more to be parsed
            self.read_paused = False
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _take_slice(self) -> None:
        piece = bytes(self._unparsed[:SLICE_BYTES])
        del self._unparsed[:SLICE_BYTES]
        super().data_received(piece)
