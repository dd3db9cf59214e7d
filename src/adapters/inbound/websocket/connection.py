"""One WebSocket connection: reads the peer, feeds the session, and carries out its actions.

One loop reads the peer. All other events of the session wake the loop through one alarm, so that no
frame needs a timer.
"""

import asyncio
from collections.abc import Iterable

from adapters.inbound.dialects import (
    Decoder,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.handshake import Handshake
from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.connection_actions import ConnectionActions
from adapters.inbound.websocket.connection_end import ConnectionEnd
from adapters.inbound.websocket.peer import Peer, SendMessage
from adapters.inbound.websocket.replies import Replies
from application.call.call_trace import CallTrace
from application.call.closing import (
    REPLIES_UNREAD,
    CloseCode,
    CloseReason,
    Closing,
    bad_start,
)
from application.call.services import Services
from application.call.session import Session
from domain.access import Principal

PAUSED_SECONDS = 5.0
"""How long back-pressure lasts for a sender whose connection must not be closed. Then its audio is
dropped, since a carrier that cannot send ends the call."""

MAX_MESSAGES_AT_ONCE = 32
"""How many messages are handled in one turn of the loop."""


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
        self._dialects = dialects
        self._handshake = handshake
        self._peer = peer
        self._send = send
        self._decoder: Decoder | None = None
        self._replies = Replies(peer.say, self._send_text, self._on_replies_unread)
        trace = CallTrace(services.tracer, handshake.traceparent, services.clock)
        self._actions = ConnectionActions(
            services, reports, principal, origin, self._replies, trace
        )
        self.session = Session(services, self._actions, principal.token_names)
        self._end = ConnectionEnd(self.session, self._actions, reports, origin, trace, send)
        peer.last_reply = self.session.last_ack
        peer.on_closed = self._end.note_closed

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
            await self._end.finish(self._replies)
        finally:
            await self._replies.close()

    async def _serve(self) -> None:
        """Read until the connection is to be closed, or the peer has left."""
        session, clock = self.session, self._services.clock
        while self._actions.closing is None:
            if session.is_catching_up:
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
                if session.is_catching_up:
                    session.put_early()
                    await asyncio.sleep(0)
                else:
                    await self._actions.woken.wait()
        except Exception as error:  # noqa: BLE001  # a bug: the run is still cut
            session.fail(error)
        finally:
            session.abandon()
            self._end.end_trace()

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
            dialect = recognise(first, self._handshake, self._dialects)
        except FirstMessageNotJson as why:
            session.close(Closing(CloseCode.INVALID_DATA, CloseReason.NOT_JSON, str(why)))
            return None
        except UnknownDialect as why:
            session.close(bad_start(str(why), reason=CloseReason.UNKNOWN_DIALECT))
            return None
        session.on_wire(dialect)
        if not session.is_reading:
            return None
        self._decoder = dialect.decoder(self._handshake, session.remark)
        return self._decoder

    async def _wait_for_room(self) -> None:
        """Stop reading; if the wire must not be closed, read again after a while and drop audio."""
        session = self.session
        session.note_paused()
        try:
            async with asyncio.timeout(PAUSED_SECONDS if session.wire.waits_for_broker else None):
                await session.wait_for_room()
                await self._replies.flush()
                await asyncio.sleep(0)  # others have a turn, whatever the two did
        except TimeoutError:
            session.drop()
        finally:
            session.note_unpaused()

    def _on_replies_unread(self) -> None:
        self.session.close(REPLIES_UNREAD)

    async def _send_text(self, reply: str) -> None:
        await self._send({"type": "websocket.send", "text": reply})
