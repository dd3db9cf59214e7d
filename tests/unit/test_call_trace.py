"""A call's span from its first start to its end, by the SDK and at a real collector."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from trace_collector import TraceCollector

from adapters.outbound.opentelemetry.tracer import OpenTelemetryTracer
from adapters.outbound.system_clock import SystemClock
from application.call.call_trace import CallTrace
from application.call.closing import BUG, CLOSES, CloseReason, Closing
from domain.events import Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat
from domain.trace_parent import TraceParent

RECEIVED = TraceParent("1" * 32, "2" * 16, 1)
KEY = StreamKey(TenantId("t"), StreamId("s"))
OPENING = Opening(KEY, InteractionId("i"), "exostreamkit", MediaFormat(8_000), 1)
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def running() -> Iterator[TraceCollector]:
    with TraceCollector() as collector:
        yield collector


@pytest.fixture
def collector(running: TraceCollector, monkeypatch: pytest.MonkeyPatch) -> TraceCollector:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
    running.spans.clear()
    return running


def tracer_of() -> OpenTelemetryTracer:
    return OpenTelemetryTracer("1.2.3", "/v1/ingest", max_spans=100, max_batch=100)


@pytest.mark.parametrize("received", [None, RECEIVED])
def test_without_a_tracer_a_start_carries_what_was_received(received: TraceParent | None) -> None:
    trace = CallTrace(None, received, CLOCK)
    assert trace.note_start(OPENING) == replace(OPENING, traceparent=received)
    trace.end(BUG)


@pytest.mark.parametrize("reason", CloseReason)
async def test_a_close_is_an_error_if_no_sender_causes_it(
    collector: TraceCollector, reason: CloseReason
) -> None:
    tracer = tracer_of()
    trace = CallTrace(tracer, RECEIVED, CLOCK)
    trace.note_start(OPENING)
    code = CLOSES[reason][0]
    trace.end(Closing(code, reason, "of a field"))
    trace.end(None)
    await tracer.close(5)
    (found,) = collector.spans
    is_error = reason in ("bug", "not_confirmed", "start_not_confirmed")
    assert found.span.status.code == (2 if is_error else 0)
    assert found.attributes.get("error.type") == (reason.value if is_error else None)
    told = found.attributes["rtaa.close.code"], found.attributes["rtaa.close.reason"]
    assert told == (code, reason)
    assert "of a field" not in str(found.span)


@pytest.mark.parametrize("received", [None, RECEIVED])
async def test_a_call_that_is_sampled_out_tells_consumers_so_unless_its_sender_has_told_them(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch, received: TraceParent | None
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracer = tracer_of()
    trace = CallTrace(tracer, received, CLOCK)
    traceparent = trace.note_start(OPENING).traceparent
    assert traceparent is not None
    assert traceparent == received if received else not traceparent.flags & 1
    assert trace.note_start(replace(OPENING, track="outbound")).traceparent == traceparent
    trace.end(None)
    await tracer.close(5)
    assert collector.spans == []
    assert tracer.dropped == 0


async def test_a_start_after_the_end_begins_no_further_span(collector: TraceCollector) -> None:
    tracer = tracer_of()
    trace = CallTrace(tracer, None, CLOCK)
    trace.end(None)
    assert trace.note_start(OPENING).traceparent is None
    trace.end(None)
    await tracer.close(5)
    assert collector.spans == []
