"""`Telemetry` in the Prometheus text format.

The hot path only adds to plain integers; they are turned into metrics when somebody asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from application.ports.exposition import MetricsExposition
from application.ports.telemetry import Telemetry

CONFIRM_BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds: from a broker next door to an outage ridden out."""


class PrometheusTelemetry(Telemetry, MetricsExposition, Collector):
    """Counts, and renders what was counted."""

    def __init__(self) -> None:
        self._handshakes: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._received = 0
        self._frames: Counter[tuple[str, str]] = Counter()
        self._ignored: Counter[str] = Counter()
        self._confirm_counts = [0] * (len(CONFIRM_BUCKETS) + 1)
        self._confirm_sum = 0.0
        self._buffered_bytes = 0
        self._kept_bytes = 0
        self._rewind_short = 0
        self._refilled = 0
        self._began_again = 0
        self._broker_up = False
        self._draining = False
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def handshake(self, outcome: str) -> None:
        """Count a handshake."""
        self._handshakes[outcome] += 1

    def stream_opened(self, dialect: str) -> None:
        """Count a stream as open."""
        self._streams[dialect] += 1

    def stream_closed(self, dialect: str) -> None:
        """Count a stream as open no more."""
        self._streams[dialect] -= 1

    def received(self, count: int = 1) -> None:
        """Count frames as received."""
        self._received += count

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        """Count frames."""
        self._frames[outcome, reason] += count

    def ignored(self, event: str) -> None:
        """Count a message that was ignored."""
        self._ignored[event] += 1

    def confirmed(self, seconds: Sequence[float]) -> None:
        """Observe times to confirmation."""
        for value in seconds:
            self._confirm_counts[bisect_left(CONFIRM_BUCKETS, value)] += 1
        self._confirm_sum += sum(seconds)

    def buffered(self, count: int) -> None:
        """Set the unconfirmed bytes."""
        self._buffered_bytes = count

    def kept(self, count: int) -> None:
        """Set the bytes kept."""
        self._kept_bytes = count

    def rewind_short(self, frames: int) -> None:
        """Count frames let go before their time."""
        self._rewind_short += frames

    def refilled(self, frames: int) -> None:
        """Count frames given again."""
        self._refilled += frames

    def began_again(self) -> None:
        """Count a stream that was begun again."""
        self._began_again += 1

    def broker(self, *, up: bool) -> None:
        """Set whether the broker takes writes."""
        self._broker_up = up

    def draining(self) -> None:
        """Note that the service drains."""
        self._draining = True

    media_type = CONTENT_TYPE_LATEST

    def render(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        handshakes = CounterMetricFamily(
            "ingest_handshakes", "Handshakes by outcome", labels=["outcome"]
        )
        for outcome, count in self._handshakes.items():
            handshakes.add_metric([outcome], count)
        yield handshakes
        streams = GaugeMetricFamily("ingest_streams", "Started and open", labels=["dialect"])
        for dialect, count in self._streams.items():
            streams.add_metric([dialect], count)
        yield streams
        frames = CounterMetricFamily(
            "ingest_frames", "Frames by what became of them", labels=["outcome", "reason"]
        )
        frames.add_metric(["received", ""], self._received)
        for (outcome, reason), count in self._frames.items():
            frames.add_metric([outcome, reason], count)
        yield frames
        ignored = CounterMetricFamily(
            "ingest_ignored_messages", "Messages of unknown events", labels=["event"]
        )
        for event, count in self._ignored.items():
            ignored.add_metric([event], count)
        yield ignored
        yield self._confirm_histogram()
        yield GaugeMetricFamily(
            "ingest_buffered_bytes", "Audio not yet confirmed", value=self._buffered_bytes
        )
        yield GaugeMetricFamily(
            "ingest_kept_bytes",
            "Confirmed audio kept to refill the broker with",
            value=self._kept_bytes,
        )
        yield CounterMetricFamily(
            "ingest_rewind_short",
            "Confirmed frames let go before REWIND_SECONDS: too much audio, too little room",
            value=self._rewind_short,
        )
        yield CounterMetricFamily(
            "ingest_refilled_frames",
            "Confirmed frames that the broker had forgotten and was given again",
            value=self._refilled,
        )
        yield CounterMetricFamily(
            "ingest_streams_begun_again",
            "Streams that went on under a new generation: the broker had forgotten them",
            value=self._began_again,
        )
        yield GaugeMetricFamily(
            "ingest_broker_up", "Whether the broker takes writes", value=int(self._broker_up)
        )
        yield GaugeMetricFamily(
            "ingest_draining", "Whether calls are brought to an end", value=int(self._draining)
        )

    def _confirm_histogram(self) -> HistogramMetricFamily:
        bounds = [*(str(bound) for bound in CONFIRM_BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._confirm_counts), strict=True))
        return HistogramMetricFamily(
            "ingest_confirm_seconds",
            "From a frame's reception to the broker's confirmation",
            buckets=buckets,
            sum_value=self._confirm_sum,
        )
