"""Sends replies to a sender that may read slowly or never."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from litestar.exceptions import WebSocketDisconnect

SEND_SECONDS = 5.0
"""How long one reply may wait for a sender that does not read."""

MAX_QUEUED = 64
"""The maximum of waiting replies before the sender is no longer read; acks are merged."""

PEER_GONE = (OSError, RuntimeError, WebSocketDisconnect)
"""What a send raises when the sender is gone or the transport has closed by itself: uvicorn's
`ClientDisconnected` is an OSError, its "after sending 'websocket.close'" a RuntimeError."""

Say = Callable[[str], bool]
Send = Callable[[str], Awaitable[None]]


_log = logging.getLogger(__name__)


class Replies:
    """Sends replies in order: at once if possible, else one at a time in a task.

    `say` sends now, or returns False; `send` waits until it can. `on_unread` is called when the
    sender does not read.
    """

    def __init__(self, say: Say, send: Send, on_unread: Callable[[], None]) -> None:
        self._say = say
        self._send = send
        self._on_unread = on_unread
        self._queue: list[str] = []
        self._ack: str | None = None
        self._sending: asyncio.Task[None] | None = None
        self._is_broken = False

    @property
    def is_full(self) -> bool:
        """Whether the sender must read replies before it is read again."""
        return len(self._queue) >= MAX_QUEUED and not self._is_broken

    def put(self, reply: str | None) -> None:
        """Send or queue a reply; ignore None, from a dialect without replies."""
        if reply is None or self._is_broken or (self._sending is None and self._say(reply)):
            return
        if self._ack is not None:
            self._queue.append(self._ack)
            self._ack = None
        self._queue.append(reply)
        self._send_on()

    def put_ack(self, ack: str | None) -> None:
        """Send an ack, or let it replace a waiting one, which it includes."""
        if ack is None or self._is_broken or (self._sending is None and self._say(ack)):
            return
        self._ack = ack
        self._send_on()

    async def flush(self) -> None:
        """Wait until everything queued is sent, or cannot be."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def close(self) -> None:
        """Send nothing more."""
        self._is_broken = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    def _send_on(self) -> None:
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_queued())

    async def _send_queued(self) -> None:
        """Send until nothing waits, or the sender is gone or does not read."""
        try:
            while (reply := self._next()) is not None:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._send(reply)
        except TimeoutError:
            self._is_broken = True
            self._on_unread()
        except PEER_GONE:
            self._is_broken = True
            _log.debug("the sender was gone before it had read everything")
        finally:
            self._sending = None

    def _next(self) -> str | None:
        if self._queue:
            return self._queue.pop(0)
        ack, self._ack = self._ack, None
        return ack
