"""The interface of the WebSocket class for a connection."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from application.call.closing import Closing

SendMessage = Callable[[Any], Awaitable[None]]
"""ASGI's `send`."""


class Peer(Protocol):
    """The peer, through the direct methods of our WebSocket class."""

    last_reply: Callable[[], str | None] | None
    """Returns a last reply before the connection is closed for a broken frame."""

    on_closed: Callable[[Closing], None] | None
    """Called when the connection is closed for a broken frame, or because the server stops."""

    def take(self) -> tuple[bool, bytes] | None:
        """Return the next arrived message: whether it is text (UTF-8), and its bytes."""
        ...

    async def listen(self, take_in: Callable[[], bool]) -> bool:
        """Call `take_in` whenever messages have arrived, until it returns False.

        Return False when none will come any more.
        """
        ...

    def say(self, text: str) -> bool:
        """Send text now; False if that is not possible."""
        ...
