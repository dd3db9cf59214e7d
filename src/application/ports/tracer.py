"""The port through which calls are traced."""

from dataclasses import dataclass
from typing import Protocol

from domain.account import State
from domain.events import Opening
from domain.ledger import Ledger
from domain.trace_parent import TraceParent


@dataclass(frozen=True, slots=True)
class CallEnd:
    """What became of a call, as far as its connection has seen it.

    `seconds` is how long it took, from its handshake on. `generation` and `resumed` are those with
    which the stream itself was started, None if it was not, and `state` is where its run stands;
    `ledger` is the sum over all its
    tracks, of the whole run of each. `code` and `reason` are those of a close of ours, None if the
    sender closed; `has_failed` if that was for a failure of the service or of its broker.
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
    """One call in a trace, until it is ended."""

    @property
    def traceparent(self) -> TraceParent:
        """What those who continue the trace behind it name as its parent."""
        ...

    def end(self, end: CallEnd) -> None:
        """End it, and have it exported."""
        ...


class Tracer(Protocol):
    """Makes one span for each call. It neither waits nor fails, whatever becomes of a span."""

    @property
    def dropped(self) -> int:
        """How many spans were dropped because they could not be exported."""
        ...

    def begin(self, opening: Opening, parent: TraceParent | None, began_at_ms: int) -> Span:
        """Begin the span of a call whose handshake was at `began_at_ms`, under the sender's own."""
        ...

    async def close(self, seconds: float) -> None:
        """Export what has ended, for so long at most, and no more."""
        ...
