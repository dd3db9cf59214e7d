"""What the stream of a track needs of the session that owns it: names, replies, the close."""

from typing import Protocol

from application.call.actions import Actions
from application.call.closing import Closing
from application.call.messages import Start
from application.call.services import Services
from application.call.wire import Wire
from application.delivery.live_stream import LiveStream
from application.ports.clock import Instant


class Host(Protocol):
    """The session of a call, as `CallStream` uses it.

    `heard` is the arrival time of the messages that are handled now. `is_gone`: the connection is
    closed, so there are no replies. `catching_up` counts granted streams with early messages that
    are not yet in the log.
    """

    services: Services
    actions: Actions
    heard: Instant
    is_gone: bool
    catching_up: int

    @property
    def wire(self) -> Wire:
        """The wire that the sender speaks."""
        ...

    def reply(self, text: str | None) -> None:
        """Send a reply, unless it is None or the sender is gone."""
        ...

    def remark(self, remark: str) -> None:
        """Log what is odd about the call, each once."""
        ...

    def note_end(self, *, is_deferred: bool) -> None:
        """Note that an end is deferred to a newer connection, or handled here after all."""
        ...

    def close(self, closing: Closing) -> None:
        """Close the connection."""
        ...

    def fail(self, bug: Exception) -> None:
        """Close because of a bug that no caller would see."""
        ...

    def on_live(self, live: LiveStream, start: Start | None) -> None:
        """Note that the stream itself is granted, for a start message."""
        ...

    def on_settled(self) -> None:
        """Note that a start is settled: a stream may have early messages, or be refused."""
        ...

    def on_progress(self) -> None:
        """Note that more of a stream is confirmed, or can no longer be confirmed."""
        ...
