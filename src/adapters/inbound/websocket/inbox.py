"""The queue to the application: the peer's messages, and ASGI's events of the connection."""

import asyncio
from collections.abc import Callable
from typing import Any

from adapters.inbound.websocket.frame_reader import Message
from adapters.inbound.websocket.socket_reads import READ_BYTES

MAX_WAITING_BYTES = READ_BYTES + 8 * 1024
"""The limit of waiting messages, in bytes, above which no more frames are read. A listener handles
messages before they are counted."""

MESSAGE_BYTES = 256
"""The size of a message in addition to its payload."""

TakeIn = Callable[[], bool]
"""Handles the arrived messages; returns whether to call it again for more."""


def take_nothing() -> bool:
    """Handle no message, so that the listener returns at the first one."""
    return False


class Inbox:
    """Messages, events and at most one listener. Messages precede all events but the first.

    `messages` are a reader's, which adds to them and takes them out. `put_nowait` is what uvicorn
    uses of `asyncio.Queue`.
    """

    __slots__ = ("_failure", "_listening", "_loop", "_take_in", "events", "messages")

    def __init__(self, messages: list[Message], loop: asyncio.AbstractEventLoop) -> None:
        self.messages = messages
        self.events: list[dict[str, Any]] = []
        self._loop = loop
        self._take_in: TakeIn | None = None
        self._listening: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    def put_nowait(self, event: dict[str, Any]) -> None:
        """Add an event, and wake the listener."""
        self.events.append(event)
        self._wake()

    @property
    def is_empty(self) -> bool:
        """Whether neither messages nor events wait."""
        return not (self.messages or self.events)

    @property
    def is_connect_next(self) -> bool:
        """Whether the next is the event that there is a connection."""
        return bool(self.events) and self.events[0]["type"] == "websocket.connect"

    @property
    def waiting_bytes(self) -> int:
        """The bytes that the messages take."""
        return sum(len(payload) + MESSAGE_BYTES for _, payload in self.messages)

    @property
    def is_full(self) -> bool:
        """Whether the messages take too much for more frames to be read."""
        return self.waiting_bytes > MAX_WAITING_BYTES

    def hand_over(self) -> None:
        """Let the listener handle the messages."""
        if self._take_in is None or not self.messages:
            return
        wants_more = True
        try:
            while wants_more and self.messages:
                wants_more = self._take_in()
        except Exception as error:  # noqa: BLE001  # it is raised where it belongs
            self._failure, wants_more = error, False
        if not wants_more:
            self._wake()

    async def wait(self, take_in: TakeIn) -> None:
        """Call `take_in` for messages until it returns False or raises, or an event arrives.

        Raises what it raised.
        """
        self._take_in, self._listening = take_in, self._loop.create_future()
        try:
            await self._listening
        finally:
            self._take_in = self._listening = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _wake(self) -> None:
        self._take_in = None
        if self._listening is not None and not self._listening.done():
            self._listening.set_result(None)
