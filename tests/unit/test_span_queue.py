"""Spans that wait for a collector that does not answer: so many, and no more."""

import logging
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from waiting import wait_until

from adapters.outbound.opentelemetry.export import SpanQueue

MAX_SPANS = 8


class Collector(SpanExporter):
    """Answers when it may, with its `result`."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.taken: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_answer.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is SpanExportResult.SUCCESS:
            self.taken += [span.name for span in spans]
        return self.result


def end_spans(queue: SpanQueue, first: int, last: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for number in range(first, last):
        provider.get_tracer("test").start_span(str(number)).end()


def test_a_full_queue_drops_the_newest_and_counts_them() -> None:
    collector = Collector()
    queue = SpanQueue(collector, MAX_SPANS, max_batch=3)
    end_spans(queue, 0, 20)
    assert (queue.waiting, queue.dropped) == (MAX_SPANS, 12)
    collector.may_answer.set()
    queue.force_flush()
    wait_until(lambda: queue.waiting == 0)
    end_spans(queue, 20, 22)
    queue.shutdown()
    assert sorted(collector.taken, key=int) == [str(it) for it in [*range(MAX_SPANS), 20, 21]]
    assert queue.dropped == 12


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, OSError("no route")])
def test_what_the_collector_does_not_take_is_counted_and_told_once(
    result: SpanExportResult | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector = Collector()
    collector.may_answer.set()
    collector.result = result
    queue = SpanQueue(collector, MAX_SPANS, max_batch=100)
    for number in range(5):
        end_spans(queue, number, number + 1)
        queue.force_flush()
    assert (queue.waiting, queue.dropped) == (0, 5)
    collector.result = SpanExportResult.SUCCESS
    end_spans(queue, 5, 6)
    queue.shutdown()
    assert (collector.taken, queue.dropped) == (["5"], 5)
    dropped, again = [it for it in caplog.records if it.name.endswith("opentelemetry.export")]
    assert dropped.getMessage().startswith("spans dropped")
    assert vars(dropped)["spans"] == 1
    assert ("no route" in vars(dropped)["error"]) is isinstance(result, Exception)
    assert again.getMessage() == "the trace collector takes spans again"


def test_a_span_that_is_not_sampled_is_not_taken() -> None:
    collector = Collector()
    queue = SpanQueue(collector, 1, max_batch=1)
    provider = TracerProvider(StaticSampler(Decision.RECORD_ONLY), shutdown_on_exit=False)
    provider.add_span_processor(queue)
    provider.get_tracer("test").start_span("a").end()
    assert (queue.waiting, queue.dropped) == (0, 0)
    collector.may_answer.set()
    queue.shutdown()
    assert collector.taken == []
