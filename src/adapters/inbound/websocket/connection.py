"""One WebSocket connection: reads the peer, feeds the session, and carries out its actions.

One loop reads the peer. All other events of the session wake the loop through one alarm, so that no
frame needs a timer.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from adapters.inbound.access.handshake import Handshake
from adapters.inbound.dialects import (
    Decoder,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.connection_actions import ConnectionActions
from adapters.inbound.websocket.peer import Peer, SendMessage
from adapters.inbound.websocket.replies import PEER_GONE, Replies
from application.call.call_trace import CallTrace
from application.call.closing import (
    REPLIES_UNREAD,
    CloseCode,
    CloseReason,
    Closing,
    Leaving,
    bad_start,
)
from application.call.services import Services
from application.call.session import Session
from application.call.session_close import CLOSE_SECONDS
from domain.access import Principal

UNREAD_SECONDS = 5.0
"""How long back-pressure lasts for a sender whose connection must not be closed. Then its audio is
dropped, since a carrier that cannot send ends the call."""

MAX_MESSAGES_AT_ONCE = 32
"""How many messages are handled in one turn of the loop."""

_log = logging.getLogger(__name__)


class Connection:
    """Reads the peer and feeds its session, until either side closes."""

    def __init__(
        self,
        services: Services,
        reports: Reports,
        dialects: Iterable[Dialect],
        principal: Principal,
        origin: Origin,
        handshake: Handshake,
        peer: Peer,
        send: SendMessage,
    ) -> None:
        self._services = services
        self._reports = reports
        self._dialects = dialects
        self._origin = origin
        self._query = handshake.query
        self._peer = peer
        self._send = send
        self._decoder: Decoder | None = None
        self._replies = Replies(peer.say, self._send_text, self._on_replies_unread)
        self._trace = CallTrace(services.tracer, handshake.traceparent, services.clock)
        self._actions = ConnectionActions(
            services, reports, principal, origin, self._replies, self._trace
        )
        self.session = Session(services, self._actions, principal.token_names)
        peer.last_reply = self.session.last_ack
        peer.on_closed = self._on_closed_by_protocol
        self._closed_by_protocol: Closing | None = None

    async def run(self) -> None:
        """Serve the connection until it is closed, by either side."""
        session = self.session
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001  # a bug ends this call, not the others
            session.fail(error)
        finally:
            session.on_gone()
            if not session.is_done:
                self._services.background.own(self._finish_alone())
        try:
            if self._actions.closing is not None and self._closed_by_protocol is None:
                await self._close(self._actions.closing)
            elif self._closed_by_protocol is None and not session.is_started:
                self._reports.left(Leaving.BEFORE_START, self._origin, session.context)
        finally:
            if self._closed_by_protocol is not None:
                self._report(self._closed_by_protocol)
            if session.is_done:
                self._end_trace()
            await self._replies.close()

    async def _serve(self) -> None:
        """Read until the connection is to be closed, or the peer has left."""
        session, clock = self.session, self._services.clock
        while self._actions.closing is None:
            if session.is_behind:
                session.put_early()
                await asyncio.sleep(0)
                continue
            session.on_time()
            try:
                async with asyncio.timeout(
                    session.due_at - clock.monotonic()
                ) as self._actions.alarm:
                    if not session.is_reading:  # also if it is closed by now
                        await asyncio.Event().wait()
                    elif session.is_full or self._replies.is_full:
                        await self._wait_for_room()
                    elif not await self._peer.listen(self._take_in):
                        return
            except TimeoutError:
                continue
            finally:
                self._actions.alarm = None

    async def _finish_alone(self) -> None:
        """Wait until a start whose sender has left is settled."""
        session = self.session
        try:
            while not session.is_done:
                self._actions.woken.clear()
                if session.is_behind:
                    session.put_early()
                    await asyncio.sleep(0)
                else:
                    await self._actions.woken.wait()
        except Exception as error:  # noqa: BLE001  # a bug: the run is still cut
            session.fail(error)
        finally:
            session.abandon()
            self._end_trace()

    def _take_in(self) -> bool:
        """Handle the arrived messages; return False if no more may be handled.

        Called when the socket is read, and again if there was more than one turn handles.
        """
        session = self.session
        if not session.is_reading:
            return False
        session.note_heard()
        for _ in range(MAX_MESSAGES_AT_ONCE):
            raw = self._peer.take()
            if raw is None:
                break
            is_text, payload = raw
            decoder = self._decoder or self._begin(payload.decode() if is_text else payload)
            if decoder is None:
                return False
            message = decoder.decode_text(payload) if is_text else decoder.decode_binary(payload)
            if not session.on_message(message):
                return False
        return not self._replies.is_full

    def _begin(self, first: str | bytes) -> Decoder | None:
        """Choose the dialect by the first message; None if the connection is closed instead."""
        session = self.session
        try:
            dialect = recognise(first, self._dialects)
        except FirstMessageNotJson as why:
            session.close(Closing(CloseCode.INVALID_DATA, CloseReason.NOT_JSON, str(why)))
            return None
        except UnknownDialect as why:
            session.close(bad_start(str(why), reason=CloseReason.UNKNOWN_DIALECT))
            return None
        session.on_wire(dialect)
        if not session.is_reading:
            return None
        self._decoder = dialect.decoder(self._query, session.remark)
        return self._decoder

    async def _wait_for_room(self) -> None:
        """Stop reading; if the wire must not be closed, read again after a while and drop audio."""
        session = self.session
        session.note_unread()
        try:
            async with asyncio.timeout(UNREAD_SECONDS if session.wire.waits_for_broker else None):
                await session.wait_for_room()
                await self._replies.flush()
                await asyncio.sleep(0)  # others have a turn, whatever the two did
        except TimeoutError:
            session.drop()
        finally:
            session.note_read()

    # The close

    def _on_replies_unread(self) -> None:
        self.session.close(REPLIES_UNREAD)

    def _on_closed_by_protocol(self, closing: Closing) -> None:
        """Note that the protocol has closed; report it once all earlier messages are handled."""
        self._closed_by_protocol = self._closed_by_protocol or closing

    def _end_trace(self) -> None:
        self._trace.end(self._closed_by_protocol or self._actions.closing)

    def _report(self, closing: Closing) -> None:
        context = {**self.session.context, **closing.names}
        self._reports.closed(closing, self._origin, context, error=closing.error)

    async def _close(self, closing: Closing) -> None:
        self._report(closing)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._replies.flush()
        message = {
            "type": "websocket.close",
            "code": closing.code.value,
            "reason": closing.short_explanation,
        }
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(message)
        except (TimeoutError, *PEER_GONE):
            _log.debug("the sender was gone before it could be told why")

    async def _send_text(self, reply: str) -> None:
        await self._send({"type": "websocket.send", "text": reply})
