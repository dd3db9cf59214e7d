"""The trace of one connection's call: its trace parent in `started`, and its span.

A start carries the trace parent of its own handshake, for new and resumed runs alike. Without one
it carries that of our span. There is no work per frame, and none at all without a tracer.
"""

from dataclasses import replace

from application.call.closing import CloseReason, Closing
from application.call.start_attempt import Settled
from application.delivery.live_stream import LiveStream
from application.ports.clock import Clock
from application.ports.tracer import CallEnd, Span, Tracer
from domain.events import Opening
from domain.ledger import NOTHING, Ledger
from domain.trace_parent import TraceParent

FAILURES = frozenset({CloseReason.BUG, CloseReason.NOT_CONFIRMED, CloseReason.START_NOT_CONFIRMED})
"""The causes of a close that are not the sender's fault."""


class CallTrace:
    """`received` is the trace parent of the handshake, which was just now."""

    def __init__(self, tracer: Tracer | None, received: TraceParent | None, clock: Clock) -> None:
        self._tracer = tracer
        self._received = received
        self._clock = clock
        self._began = clock.instant()
        self._span: Span | None = None
        self._is_ended = False
        self._streams: list[LiveStream] = []
        self._generation: int | None = None
        self._resumed: bool | None = None

    def note_start(self, opening: Opening) -> Opening:
        """Begin the span with the first start of the call; return a start as it is published."""
        if self._tracer is not None and self._span is None and not self._is_ended:
            self._span = self._tracer.begin(opening, self._received, self._began.epoch_ms)
        own = None if self._span is None else self._span.traceparent
        traceparent = self._received or own
        return opening if traceparent is None else replace(opening, traceparent=traceparent)

    def note_settled(self, settled: Settled) -> None:
        """Note a granted stream of the call."""
        if self._span is None or not isinstance(settled, LiveStream):
            return
        self._streams.append(settled)
        if settled.interaction.opening.track is None:
            self._generation = settled.lease.generation
            self._resumed = settled.lease.owner != settled.run.name

    def end(self, closing: Closing | None) -> None:
        """End the span; `closing` is how we closed the connection, None if the sender did."""
        is_ended, self._is_ended = self._is_ended, True
        if self._span is None or is_ended:
            return
        main = next((it for it in self._streams if it.interaction.opening.track is None), None)
        self._span.end(
            CallEnd(
                seconds=self._clock.monotonic() - self._began.monotonic,
                generation=self._generation,
                resumed=self._resumed,
                state=None if main is None else main.interaction.state,
                ledger=_sum([it.interaction.ledger for it in self._streams]),
                code=None if closing is None else closing.code.value,
                reason=None if closing is None else closing.reason.value,
                has_failed=closing is not None and closing.reason in FAILURES,
            )
        )


def _sum(ledgers: list[Ledger]) -> Ledger:
    sums = NOTHING.counters()
    for ledger in ledgers:
        for name, count in ledger.counters().items():
            sums[name] += count
    return Ledger(**sums)
