"""The actions that a session asks of its connection and of the use cases."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from application.call.closing import Closing
from application.call.messages import OddStart
from application.call.start_attempt import Settled
from application.delivery.live_stream import LiveStream
from application.start_interaction import RetryBudget
from domain.events import EndReason, Opening


class Attempt(Protocol):
    """A start attempt in progress."""

    async def wait(self) -> None:
        """Wait for its outcome."""
        ...

    def give_up(self) -> None:
        """Do not retry; an append in flight may still succeed."""
        ...

    def cancel(self) -> None:
        """Cancel it: there is no callback any more."""
        ...


class Actions(Protocol):
    """None of the actions blocks."""

    def reply(self, text: str) -> None:
        """Send text to the sender, after all replies before it."""
        ...

    def ack(self, text: str) -> None:
        """Send an ack; it replaces one that still waits to be sent."""
        ...

    def close(self, closing: Closing) -> None:
        """Close the connection, once all replies are sent."""
        ...

    def wake(self) -> None:
        """Look at the session again: it has early messages, another deadline, or stops reading."""
        ...

    def start(
        self,
        opening: Opening,
        requested_at: float,
        budget: RetryBudget,
        on_settled: Callable[[Settled], None],
    ) -> Attempt:
        """Try to start a stream, requested at a monotonic time; call back with the outcome."""
        ...

    def end(self, live: LiveStream, reason: EndReason) -> None:
        """End the run of a stream."""
        ...

    def cut(self, live: LiveStream, reason: EndReason) -> None:
        """Have the run of a stream wait for its sender; end it if the sender does not resume."""
        ...

    def report_odd_start(self, odd: Sequence[OddStart], context: Mapping[str, object]) -> None:
        """Report an odd but accepted start."""
        ...

    def report_dropping(self, context: Mapping[str, object]) -> None:
        """Report that audio of a stream is dropped from now on."""
        ...

    def report_dropped(self, frames: int, context: Mapping[str, object]) -> None:
        """Report that audio of a stream is no longer dropped, and how much was."""
        ...
