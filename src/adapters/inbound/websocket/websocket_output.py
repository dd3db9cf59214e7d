"""The output of a WebSocket: text, pongs, and the close that answers a violation.

Like `websocket_guard`, it uses internals of uvicorn's class.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from adapters.inbound.websocket.frame_reader import FrameReader
from adapters.inbound.websocket.frame_rules import CLOSE, PONG
from application.call.closing import CloseCode, CloseReason, Closing

MAX_UNREAD_BYTES = 256 * 1024
"""The limit of unread data to a peer, in addition to our replies."""

_REASONS = {
    CloseCode.PROTOCOL_ERROR: CloseReason.PROTOCOL_ERROR,
    CloseCode.INVALID_DATA: CloseReason.NOT_UTF8,
    CloseCode.POLICY: CloseReason.TOO_MANY_FRAGMENTS,
    CloseCode.TOO_BIG: CloseReason.TOO_BIG,
    CloseCode.BUG: CloseReason.BUG,
}
"""The reason of a close that the peer's frames caused."""

_PONGS_UNREAD = Closing(
    CloseCode.POLICY,
    CloseReason.PONGS_UNREAD,
    f"over {MAX_UNREAD_BYTES} bytes of answers to its pings are not read: reset",
)


class WebSocketOutput(WebSocketsSansIOProtocol):
    """What a `WebSocketGuard` sends; `_reader` has read what is answered."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self._reader = FrameReader(self.config.ws_max_size)
        self._is_lost = False
        self.last_reply: Callable[[], str | None] | None = None
        """Returns a last reply to a peer whose messages cannot be read any more."""
        self.on_closed: Callable[[Closing], None] | None = None
        """Called when the connection is closed here, and not by the application."""

    def say(self, text: str) -> bool:
        """Send text now; return False if it has to wait or fails, which `send` handles."""
        is_possible = self.writable.is_set() and self.handshake_complete and not self.close_sent
        if not is_possible or self.conn.state is not State.OPEN or self.transport.is_closing():
            return False
        self.conn.send_text(text.encode())
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    async def send(self, message: Any) -> None:  # noqa: ANN401  # as uvicorn's
        """Send an ASGI message; raise if the connection is lost, also before uvicorn notices."""
        if self._is_lost:
            raise ClientDisconnected
        await super().send(message)
        self._reader.drops_messages = self.conn.state is not State.OPEN

    def _answer_controls(self) -> None:
        """Answer pings, unless the peer does not read the answers, and a close."""
        controls, self._reader.controls = self._reader.controls, []
        if self.transport.is_closing():  # asyncio logs what is written to what was aborted
            return
        for opcode, payload in controls:
            if opcode == CLOSE:
                super().data_received(Frame(Opcode.CLOSE, payload).serialize(mask=True))
            elif opcode == PONG:
                self.handle_pong(Frame(Opcode.PONG, payload))
            elif self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._report(_PONGS_UNREAD)
                self.transport.abort()
                return
            else:
                self.conn.send_pong(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def _close_for_violation(self) -> None:
        """Close after a violation by the peer."""
        violation, self._reader.violation = self._reader.violation, None
        if violation is not None:
            self.conn.fail(violation.code, violation.explanation)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Close, and drop all other data."""
        self._reader.forget()
        if self.conn.close_sent is None:  # the handshake is not answered yet: no close was sent
            self.transport.abort()
            return
        words = None if self.last_reply is None or self.close_sent else self.last_reply()
        if words is not None and not self.transport.is_closing():  # before the close is written
            self.transport.write(Frame(Opcode.TEXT, words.encode()).serialize(mask=False))
        code, explanation = self.conn.close_sent.code, self.conn.close_sent.reason
        if not self.close_sent and code in _REASONS:  # not an echo of the peer's own
            self._report(Closing(CloseCode(code), _REASONS[CloseCode(code)], explanation))
        super().handle_parser_exception()

    def shutdown(self) -> None:
        """Close, unless the peer has, and only our echo is unread."""
        if self.conn.state >= State.CLOSING and not self.close_sent:
            self.transport.close()
            return
        if self.handshake_complete and not self.close_sent:
            self._report(Closing(CloseCode.RESTART, CloseReason.SHUTDOWN, "the service stops"))
        super().shutdown()

    def _report(self, closing: Closing) -> None:
        if self.on_closed is not None:
            self.on_closed(closing)
