"""The export of spans: a bounded queue, and a thread that exports them in batches.

The queue and the thread are the SDK's. This module counts dropped spans. The SDK would log each
attempt of each batch; here one line a minute is enough.
"""

import logging
import time

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

TELL_SECONDS = 60.0
"""The interval of log lines about dropped spans."""

_SDK_LOG = "opentelemetry.exporter"

_log = logging.getLogger(__name__)


class SpanQueue(SpanProcessor):
    """Takes spans that have ended; drops them when `max_spans` wait to be exported."""

    def __init__(self, exporter: SpanExporter, max_spans: int, max_batch: int) -> None:
        self._export = _CountedExport(exporter)
        self._batches = BatchSpanProcessor(
            self._export,
            max_queue_size=max_spans,
            max_export_batch_size=min(max_batch, max_spans),
        )
        self._max_spans = max_spans
        self._taken = 0
        self._overflowed = 0

    @property
    def waiting(self) -> int:
        """How many spans are to be exported, or are being exported now."""
        return self._taken - self._export.exported - self._export.failed

    @property
    def dropped(self) -> int:
        """How many spans were dropped: the queue was full, or the collector did not take them."""
        return self._overflowed + self._export.failed

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, unless it is not sampled."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self.waiting >= self._max_spans:
            self._overflowed += 1
            return
        self._taken += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export what waits. Blocks, as long as the exporter does."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits now. Blocks, as long as the exporter does."""
        return self._batches.force_flush(timeout_millis)


class _CountedExport(SpanExporter):
    """Wraps an exporter, in the SDK's thread; counts and logs dropped spans.

    Each count has one thread that writes it.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._last_line = _LastLine()
        self._told_at = -TELL_SECONDS
        self._untold = 0
        self._is_failing = False
        self.exported = 0
        self.failed = 0

    def export(self, spans: list[ReadableSpan]) -> SpanExportResult:  # type: ignore[override]
        """Export a batch; one that fails after the exporter's retries is dropped."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  # of a library: the batch is lost, no more
            self._last_line.text = f"{type(error).__name__}: {error}"
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            if self._is_failing:
                self._is_failing = False
                _log.info("the trace collector takes spans again")
        else:
            self.failed += len(spans)
            self._untold += len(spans)
            self._is_failing = True
            self._tell_dropped()
        return result

    def shutdown(self) -> None:
        """Give up what is being tried."""
        self._exporter.shutdown()

    def _tell_dropped(self) -> None:
        now = time.monotonic()
        if now - self._told_at < TELL_SECONDS:
            return
        _log.warning(
            "spans dropped: the trace collector does not take them",
            extra={"spans": self._untold, "error": self._last_line.text},
        )
        self._told_at, self._untold = now, 0


class _LastLine(logging.Handler):
    """Keeps the last log message of the SDK's exporter, and suppresses its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        log = logging.getLogger(_SDK_LOG)
        log.propagate = False
        log.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a line."""
        self.text = record.getMessage()
