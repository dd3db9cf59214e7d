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
    """A start that is under way."""

    async def wait(self) -> None:
        """Wait until it is over."""
        ...

    def give_up(self) -> None:
        """Try nothing again; an append that is in flight may still succeed."""
        ...

    def cancel(self) -> None:
        """End it: nothing more is heard of it."""
        ...


class Actions(Protocol):
    """None of them waits."""

    def reply(self, text: str) -> None:
        """Send text to the sender, behind all replies before it."""
        ...

    def ack(self, text: str) -> None:
        """Send an ack; it stands for one that is still to be sent."""
        ...

    def close(self, closing: Closing) -> None:
        """Close the connection, once all replies are sent."""
        ...

    def wake(self) -> None:
        """Look at the session again: it is behind, waits for another time, or reads no more."""
        ...

    def start(
        self,
        opening: Opening,
        requested_at: float,
        budget: RetryBudget,
        on_settled: Callable[[Settled], None],
    ) -> Attempt:
        """Try to start a stream, requested at a monotonic time; call back what came of it."""
        ...

    def end(self, live: LiveStream, reason: EndReason) -> None:
        """End the run of a stream."""
        ...

    def cut(self, live: LiveStream, reason: EndReason) -> None:
        """Have the run of a stream wait for its sender, and end it if none comes."""
        ...

    def report_odd_start(self, odd: Sequence[OddStart], context: Mapping[str, object]) -> None:
        """Tell the operator what is odd about a start that is taken."""
        ...

    def report_dropping(self, context: Mapping[str, object]) -> None:
        """Tell the operator that the audio of a stream is dropped from now on."""
        ...

    def report_dropped(self, frames: int, context: Mapping[str, object]) -> None:
        """Tell the operator that no more audio of a stream is dropped, and how much was."""
        ...
