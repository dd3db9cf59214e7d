"""The port through which calls are traced."""

from dataclasses import dataclass
from typing import Protocol

from domain.account import State
from domain.events import Opening
from domain.ledger import Ledger
from domain.trace_parent import TraceParent


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The outcome of a call, as its connection saw it.

    `seconds` is its duration since the handshake. `generation` and `resumed` are those of the main
    stream's start, None without a start, and `state` is that of its run. `ledger` is the sum over
    all tracks, each for its whole run. `code` and `reason` are those of a close by the service,
    None if the sender closed; `has_failed`: the cause was a failure of the service or of its
    broker.
    """

    seconds: float
    generation: int | None
    resumed: bool | None
    state: State | None
    ledger: Ledger
    code: int | None
    reason: str | None
    has_failed: bool


class Span(Protocol):
    """The open span of one call."""

    @property
    def traceparent(self) -> TraceParent:
        """The trace parent for those who continue the trace."""
        ...

    def end(self, end: CallEnd) -> None:
        """End the span, and queue it for export."""
        ...


class Tracer(Protocol):
    """Makes one span for each call. It neither blocks nor fails."""

    @property
    def dropped(self) -> int:
        """How many spans were dropped because they could not be exported."""
        ...

    def begin(self, opening: Opening, parent: TraceParent | None, began_at_ms: int) -> Span:
        """Begin the span of a call, whose handshake was at `began_at_ms`, as the sender's child."""
        ...

    async def close(self, seconds: float) -> None:
        """Export ended spans within a time limit, and stop."""
        ...
