"""`OpenTelemetryTracer`: one span for each call.

The SDK reads the settings of export and sampling itself from the variables `OTEL_…`. Attributes
have the names of the semantic conventions if these define one, and otherwise begin with `rtaa.`. No
span has a phone number, a credential or audio.
"""

import asyncio
import logging
import os
import threading
import uuid
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv.attributes import error_attributes, network_attributes, url_attributes

from adapters.outbound.opentelemetry.export import SpanQueue
from application.ports.tracer import CallEnd, Span, Tracer
from domain.events import Opening
from domain.trace_parent import TraceParent

SERVICE = "rtaa-ingest"
SPAN_NAME = "ingest call"

_NS_OF_MS, _NS_OF_S = 1_000_000, 1_000_000_000

_log = logging.getLogger(__name__)


class OpenTelemetryTracer(Tracer):
    """Makes spans of the calls at `path`, and exports them. Each process has one of its own.

    At most `max_spans` wait for the export, and `max_batch` are exported at once.
    """

    def __init__(self, version: str, path: str, *, max_spans: int, max_batch: int) -> None:
        self._path = path
        self._queue = SpanQueue(OTLPSpanExporter(), max_spans, max_batch)
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer(SERVICE, version)

    @property
    def dropped(self) -> int:
        """How many spans were dropped. See `Tracer`."""
        return self._queue.dropped

    def begin(self, opening: Opening, parent: TraceParent | None, began_at_ms: int) -> Span:
        """Begin a span. See `Tracer`."""
        began_at_ns = began_at_ms * _NS_OF_MS
        span = self._tracer.start_span(
            SPAN_NAME,
            Context() if parent is None else _under(parent),
            trace.SpanKind.SERVER,
            {
                network_attributes.NETWORK_PROTOCOL_NAME: "websocket",
                url_attributes.URL_PATH: self._path,
                "rtaa.tenant_id": opening.stream.tenant_id,
                "rtaa.interaction_id": opening.interaction_id,
                "rtaa.stream_id": opening.stream.stream_id,
                "rtaa.dialect": opening.dialect,
                "rtaa.sample_rate": opening.media.sample_rate,
                "rtaa.encoding": opening.media.encoding.value,
            },
            start_time=began_at_ns,
        )
        return _CallSpan(span, began_at_ns)

    async def close(self, seconds: float) -> None:
        """Export what waits, for a limited time. See `Tracer`.

        After that the thread is abandoned, since the SDK has no time limit.
        """
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await done.wait()
        if left := self._queue.waiting:
            _log.warning("stopped with spans that are not exported", extra={"spans": left})


class _CallSpan:
    def __init__(self, span: trace.Span, began_at_ns: int) -> None:
        self._span = span
        self._began_at_ns = began_at_ns
        context = span.get_span_context()
        self.traceparent = TraceParent(
            trace.format_trace_id(context.trace_id),
            trace.format_span_id(context.span_id),
            context.trace_flags,
        )

    def end(self, end: CallEnd) -> None:
        """End it, with what became of the call. See `Span`."""
        span = self._span
        if span.is_recording():
            span.set_attributes(_attributes(end))
            if end.has_failed:
                span.set_status(trace.StatusCode.ERROR)
        span.end(self._began_at_ns + int(end.seconds * _NS_OF_S))


def _attributes(end: CallEnd) -> dict[str, str | int | bool]:
    ledger = end.ledger
    told = {
        "rtaa.generation": end.generation,
        "rtaa.resumed": end.resumed,
        "rtaa.run.state": None if end.state is None else end.state.value,
        "rtaa.close.code": end.code,
        "rtaa.close.reason": end.reason,
        error_attributes.ERROR_TYPE: end.reason if end.has_failed else None,
        "rtaa.frames.received": ledger.received,
        "rtaa.frames.published": ledger.published,
        "rtaa.frames.duplicate": ledger.duplicate,
        "rtaa.frames.rejected": ledger.rejected,
        "rtaa.frames.lost": ledger.lost,
        "rtaa.frames.missing": ledger.missing,
        "rtaa.audio_ms": ledger.audio_ms,
    }
    return {name: value for name, value in told.items() if value is not None}


def _under(parent: TraceParent) -> Context:
    of_sender = trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.parent_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(parent.flags),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(of_sender), Context())


def _resource(version: str) -> Resource:
    """Name the process; what the environment says comes first."""
    named: dict[str, str | int] = {
        "service.name": SERVICE,
        "service.version": version,
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    return Resource.create(named).merge(OTELResourceDetector().detect())
