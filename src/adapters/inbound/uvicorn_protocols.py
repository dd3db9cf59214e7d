"""uvicorn's two protocols, with the holes closed that no setting closes, and one of them fast.

Written against uvicorn 0.54.0, whose internals are used; a test fails when that changes. What a
hostile peer could do to the stock classes, and what becomes of it here:

    connect and be silent, or send a request slowly     408 after START_TIMEOUT_SECONDS
    send what is no request                             400, reported once a second at most
    send a handshake with long or many header lines     431; the WebSocket parser would never answer
    send a request with an endless body                 413; nothing here takes one
    ping without reading the pongs                      aborted when 256 KiB of them wait
    send a message in endless empty fragments           1008 after 1024
    send tens of thousands of tiny frames in one read   parsed in slices, others get their turn;
                                                        also of what was read before it reset
    send frames before its handshake is answered        not looked at before it is
    send faster than its messages are taken             neither read nor parsed when 136 KiB wait
    be told to close and never read it                  aborted 10 s later

The bulk of what comes is whole, unfragmented, masked data frames. Those are read here, straight
from the buffer that the socket was read into; every other frame, and everything that is wrong, is
left to the library `websockets`, which is given whole frames and so is always between two of them.
"""

import asyncio
import binascii
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined]  # C, or not
from websockets.protocol import State

from adapters.inbound.refusals import Headers, Outcome, Refusal
from adapters.inbound.reports import Reports
from application.call.closing import CloseCode, CloseReason, Closing

WRITTEN_AGAINST = "0.54.0"

REQUEST_SECONDS = 10.0
"""How long a connection may take for a complete request, unless the class is told otherwise."""

MAX_HEADER_LINE_BYTES = 8_000
MAX_HEADERS = 100
"""Below the limits of websockets' handshake parser (8192 bytes a line, 128 lines), which raises."""

MAX_REQUEST_BYTES = 16 * 1024
"""What a request may take before it is complete."""

MAX_UNREAD_BYTES = 256 * 1024
"""What may wait to be written to a peer that does not read, beyond our replies."""

MAX_FRAGMENTS = 1_024

READ_BYTES = 128 * 1024
"""Most that is read from a socket at once; a process has one buffer of it for all connections."""

EARLY_BYTES = 4 * 1024
"""Most that is read at once of a request. What comes behind a handshake is kept until that is
answered, and no more is read."""

MOST_WAITING_BYTES = READ_BYTES + 8 * 1024
"""Messages that the application has not taken, beyond which nothing more is parsed or read. Who
listens takes in what was read before it is counted."""

DIRECT = "rtaa.direct"
"""The ASGI extension by which the application takes messages without awaiting each, text in its
UTF-8, and says something without awaiting: `scope["extensions"][DIRECT]["peer"]` is the
`HardenedWebSocket`, of which `take`, `listen`, `say`, `last_words` and `on_closed` are meant."""

MESSAGE_BYTES = 256
"""What a message takes beside its payload."""

MOST_FRAMES_AT_ONCE = 64
"""Frames that one connection takes in one turn of the loop; then others get their turn."""

FRAMES_A_TURN = 256
LEAST_FRAMES_AT_ONCE = 16
"""All connections together take so many frames in a turn, some milliseconds; but each a few."""

LEFT_AT_ONCE = 8
"""How many of them may be such as the library reads, which takes ten times as long."""

LINGER_SECONDS = 10.0

FORGET_SECONDS = 2.0
FORGET_BYTES = 1024 * 1024
"""What still comes of a refused request is read so long, and so much of it: to close with some of
it unread would take back the answer."""

WEBSOCKET_VERSION = b"13"


TIMED_OUT = Refusal(Outcome.TIMED_OUT, "no complete request within START_TIMEOUT_SECONDS")
UNREADABLE = Refusal(Outcome.UNREADABLE, "what came is no HTTP request")
BODY_NOT_TAKEN = Refusal(Outcome.BODY, "a request with a body")
TOO_OLD_FOR_UPGRADE = Refusal(Outcome.UNREADABLE, "a handshake needs HTTP/1.1: a proxy speaks 1.0")
NOT_GET = Refusal(Outcome.WRONG_METHOD, "a handshake is a GET", [(b"allow", b"GET")])
NO_KEY = Refusal(Outcome.UNREADABLE, "Sec-WebSocket-Key has to come once, 16 bytes in base64")
UNREADABLE_HANDSHAKE = Refusal(Outcome.UNREADABLE, "a header of the handshake cannot be read")
HEADERS_TOO_LARGE = Refusal(
    Outcome.HEADERS_TOO_LARGE,
    f"a header line over {MAX_HEADER_LINE_BYTES} bytes, more than {MAX_HEADERS} of them, or over "
    f"{MAX_REQUEST_BYTES} bytes in all",
)
OTHER_VERSION = Refusal(
    Outcome.WRONG_VERSION,
    "Sec-WebSocket-Version is not 13",
    [
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", WEBSOCKET_VERSION),
    ],
)


class _NoRequest(Exception):
    """What came is no request."""


class _Requests(h11.Connection):
    """Reads requests; what is none is not logged by uvicorn, a line for each, but refused by us."""

    def next_event(self) -> Any:  # noqa: ANN401  # h11's events and sentinels
        """Return the next event; raise `_NoRequest` where h11 raises."""
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            raise _NoRequest(error.error_status_hint) from error


def _accepted_from(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Return the peer's address as the kernel told it when the connection was accepted.

    uvicorn asks the socket, which no longer knows the address of a peer that has reset it.
    """
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None


def _cut_off(transport: asyncio.Transport) -> None:
    """Abort, unless the connection is lost: asyncio fails at that if its last bytes went out late.

    What waits to be called holds the transport alone, so that the memory of a connection that is
    lost is free at once.
    """
    if transport.get_protocol() is not None:  # None once it is lost
        transport.abort()


class HardenedHttp(H11Protocol, asyncio.BufferedProtocol):
    """HTTP/1.1 with a time limit for requests and limits for the headers of a handshake."""

    request_seconds = REQUEST_SECONDS

    reports: Reports | None = None
    """Who is told of refusals; the class is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self.conn = _Requests(h11.SERVER, MAX_REQUEST_BYTES)
        self._request_timer: asyncio.TimerHandle | None = None
        self._to_forget: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.client = self.client or _accepted_from(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_expecting()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint
        """Return what is read into: little, so that a body is noticed before much of it is read."""
        return _shared.view[:EARLY_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse, and wait no more once a request is complete; one with a body is refused."""
        if self._to_forget is not None:
            self._to_forget -= nbytes
            if self._to_forget < 0:
                self.transport.abort()
            return
        before = self.scope
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self._request_timer is None:
            self._expect_request()
        self.data_received(bytes(_shared.view[:nbytes]))
        self._note_request(before)

    def on_response_complete(self) -> None:
        """Go on with a request that came behind the one that is answered."""
        before = self.scope
        super().on_response_complete()
        self._note_request(before)

    def _note_request(self, before: Any) -> None:  # noqa: ANN401  # uvicorn's scope
        """Wait no more if a request is complete since `before`; refuse it if it has a body."""
        if self.scope is not before:
            self._stop_expecting()
            if self._has_body():
                self._refuse(BODY_NOT_TAKEN, self.headers)

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
            for name, value in self.headers
        )

    def handle_events(self) -> None:
        """Handle what was read; what is no request is refused."""
        try:
            super().handle_events()
        except _NoRequest as error:
            is_too_large = error.args[0] == HEADERS_TOO_LARGE.status
            self._refuse(HEADERS_TOO_LARGE if is_too_large else UNREADABLE, [])

    def _get_upgrade(self) -> bytes | None:
        """Return `websocket` if that is asked for, among others and in any number of lines."""
        is_asked_for = b"upgrade" in self._options(b"connection")
        return b"websocket" if is_asked_for and b"websocket" in self._options(b"upgrade") else None

    def _options(self, name: bytes) -> set[bytes]:
        lines = (value for key, value in self.headers if key == name)
        return {option.strip().lower() for line in lines for option in line.split(b",")}

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand over to the WebSocket protocol what it can take, also what came behind it."""
        refusal = self._handshake_refusal(event)
        if refusal is not None:
            self._refuse(refusal, self.headers)
            return
        self.headers = [
            *((name, value) for name, value in self.headers if name not in _UPGRADE),
            *_UPGRADE.items(),
        ]
        super().handle_websocket_upgrade(event)
        websocket = self.transport.get_protocol()
        if not isinstance(websocket, HardenedWebSocket):
            return
        if not websocket.is_handshake_taken:
            self._report(UNREADABLE_HANDSHAKE, self.headers)
        early, _ = self.conn.trailing_data
        if early:
            websocket.keep_early(early)

    def _handshake_refusal(self, event: h11.Request) -> Refusal | None:
        """Return what to say instead of handing over; None if all is well."""
        longest = max((len(name) + len(value) for name, value in self.headers), default=0)
        too_long = max(longest, len(event.target)) > MAX_HEADER_LINE_BYTES
        keys = [value for name, value in self.headers if name == b"sec-websocket-key"]
        refusal = None
        if too_long or len(self.headers) > MAX_HEADERS:
            refusal = HEADERS_TOO_LARGE
        elif self._has_body():
            refusal = BODY_NOT_TAKEN
        elif event.method != b"GET":
            refusal = NOT_GET
        elif event.http_version != b"1.1":
            refusal = TOO_OLD_FOR_UPGRADE
        elif (b"sec-websocket-version", WEBSOCKET_VERSION) not in self.headers:
            refusal = OTHER_VERSION
        elif len(keys) != 1 or not _is_key(keys[0]):
            refusal = NO_KEY
        return refusal

    def _refuse(self, refusal: Refusal, headers: Headers) -> None:
        """Answer, and say nothing more; the peer is to close, or it is closed in a while."""
        if self._to_forget is not None or self.transport.is_closing():
            return
        self._to_forget = FORGET_BYTES
        self._stop_expecting()
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.loop.call_later(FORGET_SECONDS, _cut_off, self.transport)
        self.transport.write(refusal.on_the_wire())
        with suppress(OSError):  # it is gone already
            self.transport.write_eof()
        self._report(refusal, headers)

    def _report(self, refusal: Refusal, headers: Headers) -> None:
        if self.reports is not None:
            origin = self.reports.origin(self.client and self.client[0], headers)
            self.reports.refused(refusal, origin)

    def _expect_request(self) -> None:
        self._request_timer = self.loop.call_later(self.request_seconds, self._on_no_request)

    def _stop_expecting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _on_no_request(self) -> None:
        self._request_timer = None
        self._refuse(TIMED_OUT, [])


_UPGRADE = {b"connection": b"Upgrade", b"upgrade": b"websocket"}
"""The headers of a handshake that may come in several lines and lists, as websockets reads them."""

_KEY_BYTES = 16


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False


_Message = tuple[bool, bytes]
"""A message of the peer's: whether it is text, and its payload."""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


TakeIn = Callable[[], bool]
"""Takes the messages that have come; returns whether it is to be called when more have."""


class _Inbox:
    """What waits for the application: messages of the peer, and what ASGI says of the connection.

    `on_event` is called when ASGI has something to say. The methods are what uvicorn uses of
    `asyncio.Queue`.
    """

    __slots__ = ("_on_event", "waiting")

    def __init__(self, on_event: Callable[[], None]) -> None:
        self.waiting: list[_Message | dict[str, Any]] = []
        self._on_event = on_event

    def empty(self) -> bool:
        return not self.waiting

    def put_nowait(self, event: dict[str, Any]) -> None:
        self.waiting.append(event)
        self._on_event()

    @property
    def size(self) -> int:
        """The bytes that the peer's messages take."""
        return sum(len(it[1]) + MESSAGE_BYTES for it in self.waiting if type(it) is tuple)

    @property
    def has_message(self) -> bool:
        """Whether the next is a message of the peer's."""
        return bool(self.waiting) and type(self.waiting[0]) is tuple

    def first_bad_text(self) -> int | None:
        """Return where text waits that is not UTF-8."""
        for place, it in enumerate(self.waiting):
            if type(it) is tuple and it[0] and not _is_utf8(it[1]):
                return place
        return None

    def drop_messages(self, place: int) -> None:
        """Leave of what is there or behind only what ASGI says of the connection."""
        self.waiting[place:] = [it for it in self.waiting[place:] if type(it) is dict]


class _Shared(threading.local):
    """What all connections of a loop share, which has its thread: the buffer, and a turn's time."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))
        self._frames_left = FRAMES_A_TURN

    def may_take(self, loop: asyncio.AbstractEventLoop) -> int:
        """Return how many frames may be taken now."""
        if self._frames_left == FRAMES_A_TURN:
            loop.call_soon(self._begin_turn)
        most = min(MOST_FRAMES_AT_ONCE, self._frames_left)
        return max(LEAST_FRAMES_AT_ONCE, most)

    def note_taken(self, frames: int) -> None:
        """Note that frames were taken in this turn."""
        self._frames_left -= frames

    def _begin_turn(self) -> None:
        self._frames_left = FRAMES_A_TURN


_shared = _Shared()

_TEXT = 0x81
_WHOLE_DATA = (_TEXT, 0x82)
"""First byte of a text or binary frame that is a whole message: FIN, no extension, opcode."""

_OPCODE = 0x0F
_LAST_DATA = 0x07
"""Opcodes above are of control frames."""

_MASKED = 0x80
_MASK_BYTES = 4
_SHORTEST_HEADER = 2

_NOTHING = memoryview(b"")


def _measure(data: memoryview, place: int) -> tuple[int, int]:
    """Return where the payload of the frame at `place` begins, and where the frame ends.

    Two bytes of it are there; when those that say its length are not, the end of the header counts.
    """
    length = data[place + 1] & ~_MASKED
    payload = place + _SHORTEST_HEADER + _MASK_BYTES
    if length < 126:  # noqa: PLR2004  # RFC 6455, 5.2
        return payload, payload + length
    start = place + _SHORTEST_HEADER
    payload += 2 if length == 126 else 8  # noqa: PLR2004
    if payload > len(data):
        return payload, payload
    if length == 126:  # noqa: PLR2004
        return payload, payload + (data[start] << 8 | data[start + 1])
    return payload, payload + int.from_bytes(data[start : start + 8], "big")


_SWITCHING_PROTOCOLS = 101

_REASONS = {
    CloseCode.PROTOCOL_ERROR: CloseReason.PROTOCOL_ERROR,
    CloseCode.INVALID_DATA: CloseReason.NOT_UTF8,
    CloseCode.POLICY: CloseReason.TOO_MANY_FRAGMENTS,
    CloseCode.TOO_BIG: CloseReason.TOO_BIG,
    CloseCode.BUG: CloseReason.BUG,
}
"""Why a connection is closed for what the library reads, or is told to fail for."""


def _take_nothing() -> bool:
    return False


class HardenedWebSocket(WebSocketsSansIOProtocol, asyncio.BufferedProtocol):
    """WebSocket whose peer can make it hold little and work little at a time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self.queue: Any = _Inbox(self._wake)
        self._take_in: TakeIn | None = None
        self._listening: asyncio.Future[None] | None = None
        self._is_parsing_on = self._is_lost = False
        self._lost: tuple[Exception | None] | None = None
        self._failure: Exception | None = None
        self.last_words: Callable[[], str | None] | None = None
        """Tells what is still to be said to a peer whose messages cannot be read any more."""
        self.on_closed: Callable[[Closing], None] | None = None
        """Told when the connection is closed here, and not by the application."""
        self._view = _shared.view
        self._most_bytes = self.config.ws_max_size
        self._begun = bytearray()
        self._needed = 0
        self._unparsed = _NOTHING

    @property
    def is_handshake_taken(self) -> bool:
        """Whether the application is asked about the handshake; else it is refused already."""
        return self.conn.parser_exc is None and self.response.status_code == _SWITCHING_PROTOCOLS

    # From the socket

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint
        """Return what is read into: little before the handshake is answered."""
        return self._view if self.handshake_complete else self._view[:EARLY_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        data = self._view[:nbytes]
        if self._unparsed:  # only once we have closed: else nothing is read meanwhile
            self._unparsed = memoryview(bytes(self._unparsed) + data)
            self._parse_on()
            return
        if not self.handshake_complete:
            self.keep_early(data)
            return
        while self._begun and data:
            missing = self._needed - len(self._begun)
            self._begun += data[:missing]
            data = data[missing:]
            if len(self._begun) == self._needed:
                begun, self._begun = self._begun, bytearray()
                self._parse(memoryview(begun))
        if data:
            self._parse(data)
        if self._unparsed:
            self._unparsed = memoryview(bytes(self._unparsed))  # the buffer is others' now
        self._hand_over()

    def keep_early(self, data: bytes | memoryview) -> None:
        """Keep what came before the handshake was answered, and read no more until then."""
        if self.transport.is_closing():  # it was refused
            return
        self._unparsed = memoryview(bytes(data))
        self.read_paused = True
        self.transport.pause_reading()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # as uvicorn's
        """Take the connection over."""
        super().connection_made(transport)
        self.client = self.client or _accepted_from(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Have what was read before the connection was lost parsed, then say that it is."""
        self._is_lost = True
        self.writable.set()
        is_to_be_parsed = self._unparsed and self.handshake_complete and not self.close_sent
        if is_to_be_parsed and not self.read_paused:  # in its turns
            self.loop.call_soon(self.connection_lost, exc)
        elif is_to_be_parsed:  # when there is room
            self._lost = (exc,)
        else:
            self._forget_unparsed()
            super().connection_lost(exc)

    def _parse(self, data: memoryview) -> None:
        """Take every whole frame, up to so many; keep the rest, whole frames or not, for later."""
        place, end, waiting = 0, len(data), self.queue.waiting
        is_heard, left = self._is_heard, 0
        most = _shared.may_take(self.loop)
        for taken in range(most):  # noqa: B007  # noted afterwards
            if end - place < _SHORTEST_HEADER:
                if place < end:
                    self._begin(data[place:], _SHORTEST_HEADER)
                break
            payload, after = _measure(data, place)
            if data[place + 1] < _MASKED or after - payload > self._most_bytes:
                self._leave_to_library(data[place:])
                break
            if after > end:
                self._begin(data[place:], after - place)
                break
            first = data[place]
            if is_heard and first in _WHOLE_DATA:
                mask = bytes(data[payload - _MASK_BYTES : payload])
                message = _apply_mask(data[payload:after], mask)
                waiting.append((first == _TEXT, message))
            elif self.conn.state is State.CLOSED or self.conn.parser_exc is not None:
                break
            elif not self._is_passed_over(first):
                if left == LEFT_AT_ONCE:
                    self._unparsed = data[place:]
                    break
                left += 1
                self._leave_to_library(data[place:after])
                is_heard = self._is_heard
            place = after
        else:
            taken = most
            self._unparsed = data[place:]
        _shared.note_taken(taken)

    @property
    def _is_heard(self) -> bool:
        """Whether a whole data frame is a message: not after a close, nor inside a message."""
        conn = self.conn
        return conn.state <= State.OPEN and conn.parser_exc is None and conn.current_size is None

    def _is_passed_over(self, first: int) -> bool:
        """Whether nobody cares for a frame: data after a close, control when nobody is there."""
        if self._is_lost and first & _OPCODE > _LAST_DATA:
            return True
        return self.conn.state is State.CLOSING and first in _WHOLE_DATA

    def _begin(self, data: memoryview, needed: int) -> None:
        """Keep the beginning of a frame until `needed` bytes of it are there."""
        self._begun += data
        self._needed = needed

    def _leave_to_library(self, data: bytes | memoryview) -> None:
        """Have a frame read that may end the connection, unless text before it does."""
        place = self.queue.first_bad_text()
        if place is not None:
            self._refuse_text(place)
        elif self.conn.parser_exc is None:
            super().data_received(bytes(data))

    def _parse_on(self) -> None:
        """Have the rest parsed in a turn of its own, and nothing more read before."""
        self.transport.pause_reading()
        if not self._is_parsing_on:
            self._is_parsing_on = True
            self.loop.call_soon(self._parse_rest)

    def _parse_rest(self) -> None:
        self._is_parsing_on = False
        rest, self._unparsed = self._unparsed, _NOTHING
        if not rest:
            return
        self._parse(rest)
        self._hand_over()
        if not (self._unparsed or self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def _forget_unparsed(self) -> None:
        self._unparsed = _NOTHING
        self._begun = bytearray()

    # To the application

    def send_receive_event_to_app(self) -> None:
        """Hand over a message that came in fragments."""
        message = b"".join(self.frames)
        self.frames = []
        if not self.close_sent:
            is_text = self.curr_msg_data_type == "text"
            self.queue.waiting.append((is_text, message))

    async def receive(self) -> Any:  # noqa: ANN401  # as uvicorn's
        """Return the next message of ASGI."""
        while await self.listen(_take_nothing):
            message = self.take()
            if self.queue.empty():
                self._read_on()
            if message is not None:
                is_text, payload = message
                kind, content = ("text", payload.decode()) if is_text else ("bytes", payload)
                return {"type": "websocket.receive", kind: content}
        return self.queue.waiting.pop(0)

    async def listen(self, take_in: TakeIn) -> bool:
        """Call `take_in` now if there are messages, and whenever some have come, until it is False.

        It is called when the socket is read: no task is woken for a message. Returns False when
        what is next is no message, but something that `receive` has. Raises what `take_in` raises.
        """
        queue = self.queue
        wants_more = True
        while wants_more and queue.has_message:
            wants_more = take_in()
            if wants_more and queue.has_message:
                await asyncio.sleep(0)  # it takes so much in one turn
        if wants_more and queue.empty():
            self._read_on()
            self._take_in, self._listening = take_in, self.loop.create_future()
            try:
                await self._listening
            finally:
                self._take_in = self._listening = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        goes_on: bool = queue.has_message or queue.empty()
        return goes_on

    def _hand_over(self) -> None:
        """Have what was read taken in by who listens.

        Then nothing more is read while some of it is not parsed, and nothing more is parsed while
        too much waits.
        """
        if self._take_in is not None and self.queue.has_message:
            goes_on = True
            try:
                while goes_on and self.queue.has_message:
                    goes_on = self._take_in()
            except Exception as error:  # noqa: BLE001  # it is raised where it belongs
                self._failure, goes_on = error, False
            if not goes_on:
                self._wake()
        if self.queue.waiting and not (self.read_paused or self.close_sent):
            self.read_paused = self.queue.size > MOST_WAITING_BYTES
        if self.read_paused:
            self.transport.pause_reading()
        elif self._unparsed:
            self._parse_on()

    def _wake(self) -> None:
        """Have who listens look up."""
        self._take_in = None
        if self._listening is not None and not self._listening.done():
            self._listening.set_result(None)

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if self._unparsed:
                self._parse_on()
            elif not self.transport.is_closing():
                self.transport.resume_reading()
            if self._lost is not None:
                self.loop.call_soon(self.connection_lost, *self._lost)
                self._lost = None

    def take(self) -> _Message | None:
        """Return the peer's next message, whether it is text and its bytes; None if none is there.

        Only now it is looked whether text is UTF-8: who takes it goes on with it while it is in the
        cache.
        """
        waiting = self.queue.waiting
        if not waiting or type(waiting[0]) is dict:
            return None
        message: _Message = waiting.pop(0)
        is_text, payload = message
        if is_text and not (payload.isascii() or _is_utf8(payload)):
            self._refuse_text(0)
            return None
        return message

    async def send(self, message: Any) -> None:  # noqa: ANN401  # as uvicorn's
        """Send a message of ASGI's, unless the connection is lost: that may not be told yet."""
        if self._is_lost:
            raise ClientDisconnected
        await super().send(message)

    def say(self, text: str) -> bool:
        """Send text now; False if that has to wait, or will not be any more: `send` knows."""
        is_possible = self.writable.is_set() and self.handshake_complete and not self.close_sent
        if not is_possible or self.conn.state is not State.OPEN or self.transport.is_closing():
            return False
        self.conn.send_text(text.encode())
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def _refuse_text(self, place: int) -> None:
        """Close for text that is not UTF-8: nothing from `place` on is a message any more."""
        self.queue.drop_messages(place)
        if not self.close_sent and self.conn.state is State.OPEN:
            self.conn.fail(1007, "text that is not UTF-8")
            self.handle_parser_exception()

    # What a peer must not do

    def handle_ping(self) -> None:
        """Answer, unless the peer does not read its answers."""
        if self.transport.is_closing():  # asyncio logs what is written to what was aborted
            return
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._report(
                Closing(
                    CloseCode.POLICY,
                    CloseReason.PONGS_UNREAD,
                    f"over {MAX_UNREAD_BYTES} bytes of answers to its pings are not read: reset",
                )
            )
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
        words = None if self.last_words is None or self.close_sent else self.last_words()
        if words is not None and not self.transport.is_closing():  # before the close is written
            self.transport.write(Frame(Opcode.TEXT, words.encode()).serialize(mask=False))
        code, explanation = self.conn.close_sent.code, self.conn.close_sent.reason
        if not self.close_sent and code in _REASONS:  # not an echo of the peer's own
            self._report(Closing(CloseCode(code), _REASONS[CloseCode(code)], explanation))
        super().handle_parser_exception()

    def shutdown(self) -> None:
        """Close, unless the peer has: then only our echo has still to be read."""
        if self.conn.state >= State.CLOSING and not self.close_sent:
            self.transport.close()
            return
        if self.handshake_complete and not self.close_sent:
            self._report(Closing(CloseCode.RESTART, CloseReason.SHUTDOWN, "the service stops"))
        super().shutdown()

    def _report(self, closing: Closing) -> None:
        if self.on_closed is not None:
            self.on_closed(closing)

    async def run_asgi(self) -> None:
        """Run the application; a peer that does not read the end of it is cut off."""
        self.scope["extensions"][DIRECT] = {"peer": self}
        await super().run_asgi()
        if self._lost is not None:
            self._forget_unparsed()
            self.connection_lost(*self._lost)
        self.loop.call_later(LINGER_SECONDS, _cut_off, self.transport)
