"""What a connection needs of the WebSocket class beneath it."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from application.call.closing import Closing

SendMessage = Callable[[Any], Awaitable[None]]
"""ASGI's `send`."""


class Peer(Protocol):
    """The other side of the connection, by the direct ways of our WebSocket class."""

    last_reply: Callable[[], str | None] | None
    """Asked for a last reply before the connection is closed for a broken frame."""

    on_closed: Callable[[Closing], None] | None
    """Told when the connection is closed for a broken frame, or because the server stops."""

    def take(self) -> tuple[bool, bytes] | None:
        """Return a message that has come: whether it is text, then in UTF-8, and its bytes."""
        ...

    async def listen(self, take_in: Callable[[], bool]) -> bool:
        """Call `take_in` whenever messages have come, until that returns False.

        Return False when none will come any more.
        """
        ...

    def say(self, text: str) -> bool:
        """Send text now; False if that is not possible."""
        ...
