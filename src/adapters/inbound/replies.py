"""The way of replies to a sender, who may be slow to read them or never read at all."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from litestar.exceptions import WebSocketDisconnect

SEND_SECONDS = 5.0
"""How long one reply may wait for a sender that does not read."""

MAX_QUEUED = 64
"""Replies that wait at most before the sender is no longer read; acks coalesce to one."""

PEER_GONE = (OSError, RuntimeError, WebSocketDisconnect)
"""What a send raises when the sender is gone or the transport has closed by itself: uvicorn's
`ClientDisconnected` is an OSError, its "after sending 'websocket.close'" a RuntimeError."""

Send = Callable[[str], Awaitable[None]]


_log = logging.getLogger(__name__)


class Replies:
    """Sends replies in order, one at a time; `run` is its body, owned by the conversation."""

    def __init__(self, send: Send, on_unread: Callable[[], None]) -> None:
        self._send = send
        self._on_unread = on_unread
        self._queue: deque[str] = deque()
        self._ack: str | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken = False

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read before it has read."""
        return len(self._queue) >= MAX_QUEUED and not self._broken

    def put(self, reply: str | None) -> None:
        """Queue a reply; None, from a dialect without replies, is none."""
        if reply is not None:
            if self._ack is not None:
                self._queue.append(self._ack)
                self._ack = None
            self._queue.append(reply)
            self._wake()

    def put_ack(self, ack: str | None) -> None:
        """Queue an ack in place of one that still waits: it says all that that one said."""
        if ack is not None:
            self._ack = ack
            self._wake()

    async def flush(self) -> None:
        """Wait until everything queued is sent, or cannot be."""
        if not self._broken:
            await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled, or until the sender is gone or does not read."""
        try:
            while True:
                await self._work.wait()
                while (reply := self._next()) is not None:
                    async with asyncio.timeout(SEND_SECONDS):
                        await self._send(reply)
                self._work.clear()
                self._idle.set()
        except TimeoutError:
            self._on_unread()
        except PEER_GONE:
            _log.debug("the sender was gone before it had read everything")
        finally:
            self._broken = True
            self._idle.set()

    def _wake(self) -> None:
        if not self._broken:
            self._idle.clear()
            self._work.set()

    def _next(self) -> str | None:
        if self._queue:
            return self._queue.popleft()
        ack, self._ack = self._ack, None
        return ack
