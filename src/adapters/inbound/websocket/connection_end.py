"""The end of one connection: the peer is told, and the operator, each once and with the cause."""

import asyncio
import logging
from contextlib import suppress

from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.connection_actions import ConnectionActions
from adapters.inbound.websocket.peer import SendMessage
from adapters.inbound.websocket.replies import PEER_GONE, Replies
from application.call.call_trace import CallTrace
from application.call.closing import Closing, Leaving
from application.call.session import Session
from application.call.session_close import CLOSE_SECONDS

_log = logging.getLogger(__name__)


class ConnectionEnd:
    """Carries out the close that the session wants, unless the peer or the protocol was first."""

    def __init__(
        self,
        session: Session,
        actions: ConnectionActions,
        reports: Reports,
        origin: Origin,
        trace: CallTrace,
        send: SendMessage,
    ) -> None:
        self._session = session
        self._actions = actions
        self._reports = reports
        self._origin = origin
        self._trace = trace
        self._send = send
        self._by_protocol: Closing | None = None

    def note_closed(self, closing: Closing) -> None:
        """Note that the protocol has closed; reported once all earlier messages are handled."""
        self._by_protocol = self._by_protocol or closing

    async def finish(self, replies: Replies) -> None:
        """Close after all replies, and report it."""
        session, closing = self._session, self._actions.closing
        try:
            if self._by_protocol is None and closing is not None:
                await self._close(closing, replies)
            elif self._by_protocol is None and not session.is_started:
                self._reports.left(Leaving.BEFORE_START, self._origin, session.context)
        finally:
            if self._by_protocol is not None:
                self._report(self._by_protocol)
            if session.is_done:
                self.end_trace()

    def end_trace(self) -> None:
        """End the span of the call: no more happens to it."""
        self._trace.end(self._by_protocol or self._actions.closing)

    def _report(self, closing: Closing) -> None:
        context = {**self._session.context, **closing.names}
        self._reports.closed(closing, self._origin, context, error=closing.error)

    async def _close(self, closing: Closing, replies: Replies) -> None:
        self._report(closing)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await replies.flush()
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
