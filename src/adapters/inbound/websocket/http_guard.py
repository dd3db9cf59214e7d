"""uvicorn's HTTP/1.1, with the holes closed that no setting closes.

It uses internals of uvicorn 0.54.0; a test fails when these change. Attacks on the stock class, and
how they are handled here:

    connect and be silent, or send a request slowly     408 after START_TIMEOUT_SECONDS; closed
                                                        without a word at `OPERATIONS_PORT` if no
                                                        byte came: a browser's spare connection
    send what is no request                             400, reported once a second at most
    send a handshake with long or many header lines     431; the WebSocket parser would never answer
    send one with a control character in a header       400; it would not answer this either
    send a request with an endless body                 413; nothing here takes one
    not read an answer                                  cut off when a piece of it has waited for
                                                        START_TIMEOUT_SECONDS
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.refusals import Headers, Refusal
from adapters.inbound.reporting.reports import Reports, values
from adapters.inbound.websocket.handshake_rules import (
    BODY_NOT_TAKEN,
    HEADERS_TOO_LARGE,
    MAX_REQUEST_BYTES,
    TIMED_OUT,
    UNREADABLE,
    UNREADABLE_HANDSHAKE,
    asks_for_websocket,
    has_body,
    refusal_of_handshake,
    with_plain_upgrade,
)
from adapters.inbound.websocket.socket_reads import (
    EARLY_BYTES,
    accepted_from,
    cut_off,
    shared_reads,
)
from adapters.inbound.websocket.websocket_guard import WebSocketGuard

_log = logging.getLogger(__name__)

WRITTEN_AGAINST = "0.54.0"

REQUEST_SECONDS = 10.0
"""The default time-out for a complete request."""

FORGET_SECONDS = 2.0
FORGET_BYTES = 1024 * 1024
"""The rest of a refused request is read up to these limits: a close with unread data would discard
the answer."""


class _NoRequest(Exception):
    """The input is not a valid request, or has a body: its refusal, and its headers."""


class _Requests(h11.Connection):
    """Reads requests; invalid ones are refused by us instead of logged one by one by uvicorn."""

    def next_event(self) -> Any:  # noqa: ANN401  # h11's events and sentinels
        """Return the next event; raise `_NoRequest` where h11 raises, and before a body."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            is_too_large = error.error_status_hint == HEADERS_TOO_LARGE.status
            raise _NoRequest(HEADERS_TOO_LARGE if is_too_large else UNREADABLE, []) from error
        if isinstance(event, h11.Request):
            headers = list(event.headers)
            if has_body(headers) and not asks_for_websocket(headers):  # it has rules of its own
                raise _NoRequest(BODY_NOT_TAKEN, headers)
        return event


class HttpGuard(H11Protocol, asyncio.BufferedProtocol):
    """HTTP/1.1 with a time limit for requests and limits for the headers of a handshake."""

    request_seconds = REQUEST_SECONDS

    reports: Reports | None = None
    """Gets the refusals; set on the class."""

    operations_port: int | None = None
    """The operations port, on which a silent connection is not an error; set on the class."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self.conn = _Requests(h11.SERVER, MAX_REQUEST_BYTES)
        self._request_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._has_read = False
        self._to_forget: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.client = self.client or accepted_from(transport)
        transport.set_write_buffer_limits(0)  # we are told of every byte that is not read
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_expecting()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the peer to read."""
        super().pause_writing()
        self._stop_waiting_for_reader()
        self._unread_timer = self.loop.call_later(self.request_seconds, self._on_unread)

    def resume_writing(self) -> None:
        """Note that the peer has read all."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint
        """Return a small buffer, so that a body is noticed before much of it is read."""
        return shared_reads.view[:EARLY_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse, and stop the timer once a request is complete."""
        if self._to_forget is not None:
            self._to_forget -= nbytes
            if self._to_forget < 0:
                self.transport.abort()
            return
        self._has_read = True
        before = self.scope
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self._request_timer is None:
            self._expect_request()
        self.data_received(bytes(shared_reads.view[:nbytes]))
        self._note_request(before)

    def on_response_complete(self) -> None:
        """Continue with the request that followed the answered one."""
        before = self.scope
        super().on_response_complete()
        self._note_request(before)

    def _note_request(self, before: Any) -> None:  # noqa: ANN401  # uvicorn's scope
        """Stop the timer if a request has become complete since `before`."""
        if self.scope is not before:
            self._stop_expecting()

    def handle_events(self) -> None:
        """Handle the input; refuse it if it is not a valid request or has a body."""
        try:
            super().handle_events()
        except _NoRequest as error:
            self._refuse(*error.args)

    def _get_upgrade(self) -> bytes | None:
        """Return `websocket` if that is requested."""
        return b"websocket" if asks_for_websocket(self.headers) else None

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand a valid handshake, and the bytes after it, over to the WebSocket protocol."""
        refusal = refusal_of_handshake(event.method, event.target, event.http_version, self.headers)
        if refusal is not None:
            self._refuse(refusal, self.headers)
            return
        self.headers = list(with_plain_upgrade(self.headers))
        self._stop_waiting_for_reader()
        self.transport.set_write_buffer_limits()
        super().handle_websocket_upgrade(event)
        websocket = self.transport.get_protocol()
        if not isinstance(websocket, WebSocketGuard):
            return
        if not websocket.handshake_initiated:  # it could not read the handshake, and says nothing
            self.transport.set_protocol(self)
            self.connections.discard(websocket)
            self.connections.add(self)
            self._refuse(UNREADABLE_HANDSHAKE, self.headers)
            return
        if self.flow.write_paused:  # an answer before the handshake is not read yet
            websocket.pause_writing()
        if not websocket.is_handshake_taken:
            self._report(UNREADABLE_HANDSHAKE, self.headers)
        early, _ = self.conn.trailing_data
        if early:
            websocket.keep_early(early)

    def _refuse(self, refusal: Refusal, headers: Headers) -> None:
        """Send a final answer; the peer should close, or the connection is closed after a while."""
        if self._to_forget is not None or self.transport.is_closing():
            return
        self._to_forget = FORGET_BYTES
        self._stop_expecting()
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.loop.call_later(FORGET_SECONDS, cut_off, self.transport)
        self.transport.write(refusal.on_the_wire())
        with suppress(OSError):  # it is gone already
            self.transport.write_eof()
        self._report(refusal, headers)

    def _report(self, refusal: Refusal, headers: Headers) -> None:
        if self.reports is not None:
            self.reports.refused(refusal, self._origin(self.reports, headers))

    def _origin(self, reports: Reports, headers: Headers) -> Origin:
        forwarded_for = values(headers, b"x-forwarded-for")
        return reports.origin(self.client and self.client[0], forwarded_for)

    def _expect_request(self) -> None:
        self._request_timer = self.loop.call_later(self.request_seconds, self._on_no_request)

    def _stop_expecting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_waiting_for_reader(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _on_unread(self) -> None:
        self._unread_timer = None
        cut_off(self.transport)
        if self.reports is not None and self._to_forget is None:  # else it is told already
            self.reports.answer_unread(self._origin(self.reports, self.headers or []))

    def _on_no_request(self) -> None:
        self._request_timer = None
        is_operations = self.server is not None and self.server[1] == self.operations_port
        if is_operations and not self._has_read:
            _log.debug("silent connection closed", extra={"port": self.operations_port})
            self.transport.close()
        else:
            self._refuse(TIMED_OUT, [])
