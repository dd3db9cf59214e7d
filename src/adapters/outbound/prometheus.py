"""`Telemetry` in the Prometheus text format.

The hot path only adds to plain integers; they are turned into metrics at a scrape. Where a
service is several processes each says its counts to the others now and then, and whichever is
scraped shows the sums. Counts outlive a process that dies: its successor begins with them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from time import monotonic
from typing import Any, TypeVar

import msgspec
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from application.ports.exposition import MetricsExposition
from application.ports.siblings import Siblings
from application.ports.telemetry import HeldBytes, Losses, Telemetry

CONFIRM_BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds: from a broker next door to an outage ridden out."""


PROCESS_SECONDS = 5.0
"""How old what the other processes show of their memory and descriptors may be: it takes a while to
find out where many are open."""


@dataclass(frozen=True, slots=True)
class Series:
    """The label values that are known from the start: what is not there yet is shown as 0."""

    dialects: Iterable[str] = ()
    handshakes: Iterable[str] = ()
    closes: Iterable[tuple[int, str]] = ()
    left: Iterable[str] = ()
    odd_starts: Iterable[str] = ()
    frames: Iterable[tuple[str, str]] = ()
    ignored: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """What is running."""

    version: str
    python: str


class _Tally(msgspec.Struct):
    """What one process has counted; the gauges are as of now."""

    worker: int = 0
    handshakes: dict[str, int] = {}
    closes: dict[tuple[int, str], int] = {}
    left: dict[str, int] = {}
    odd_starts: dict[str, int] = {}
    received: int = 0
    frames: dict[tuple[str, str], int] = {}
    ignored: dict[str, int] = {}
    confirm_counts: list[int] = msgspec.field(
        default_factory=lambda: [0] * (len(CONFIRM_BUCKETS) + 1)
    )
    confirm_sum: float = 0.0
    rewind_short: int = 0
    replayed: int = 0
    rebased: int = 0
    log_lines_dropped: int = 0
    streams: dict[str, int] = {}
    buffered_bytes: int = 0
    kept_bytes: int = 0
    broker_up: bool = False
    broker_parts: dict[str, bool] = {}
    draining: bool = False
    process: dict[str, float] = {}

    def without_gauges(self) -> "_Tally":
        """Return what outlives the process."""
        counted = {name: getattr(self, name) for name in _COUNTED}
        return _Tally(**counted)

    def add(self, other: "_Tally") -> None:
        """Make this the tally of both: the broker is up for all or it is not."""
        self.add_counts(other)
        _add(self.streams, other.streams)
        self.buffered_bytes += other.buffered_bytes
        self.kept_bytes += other.kept_bytes
        self.broker_up = self.broker_up and other.broker_up
        for part, is_up in other.broker_parts.items():
            self.broker_parts[part] = self.broker_parts.get(part, True) and is_up
        self.draining = self.draining or other.draining

    def add_counts(self, other: "_Tally") -> None:
        """Add what outlives a process."""
        for mine, theirs in (
            (self.handshakes, other.handshakes),
            (self.closes, other.closes),
            (self.left, other.left),
            (self.odd_starts, other.odd_starts),
            (self.frames, other.frames),
            (self.ignored, other.ignored),
        ):
            _add(mine, theirs)
        self.confirm_counts = [
            a + b for a, b in zip(self.confirm_counts, other.confirm_counts, strict=True)
        ]
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTED = (
    "handshakes", "closes", "left", "odd_starts", "received", "frames", "ignored",
    "confirm_counts", "confirm_sum", "rewind_short", "replayed", "rebased", "log_lines_dropped",
)  # fmt: skip
_SUMMED = (
    "received", "confirm_sum", "rewind_short", "replayed", "rebased", "log_lines_dropped",
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Tally).decode


def _add(mine: dict[Any, int], theirs: dict[Any, int]) -> None:
    for label, count in theirs.items():
        mine[label] = mine.get(label, 0) + count


class PrometheusTelemetry(Telemetry, MetricsExposition, Collector):
    """Counts, and renders what was counted, here and by the `siblings` if there are any."""

    def __init__(
        self,
        siblings: Siblings | None = None,
        known: Series | None = None,
        build: Build | None = None,
    ) -> None:
        self._siblings = siblings
        self._known = known or Series()
        self._build = build
        self._process = ProcessCollector(registry=None)
        self._process_read_at = -PROCESS_SECONDS
        snapshot = None if siblings is None else siblings.own()
        self._tally = _Tally() if snapshot is None else _decode(snapshot).without_gauges()
        self._tally.worker = 0 if siblings is None else siblings.number
        self._held_bytes: Callable[[], HeldBytes] = lambda: HeldBytes(0, 0)
        self._log_lines_dropped: Callable[[], int] = lambda: 0
        self._dropped_before = self._tally.log_lines_dropped
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def handshake(self, outcome: str) -> None:
        """Count a handshake."""
        _add(self._tally.handshakes, {outcome: 1})

    def closed(self, code: int, reason: str) -> None:
        """Count a close."""
        _add(self._tally.closes, {(code, reason): 1})

    def left(self, when: str) -> None:
        """Count a peer that left."""
        _add(self._tally.left, {when: 1})

    def odd_start(self, oddity: str) -> None:
        """Count an odd start."""
        _add(self._tally.odd_starts, {oddity: 1})

    def stream_opened(self, dialect: str) -> None:
        """Count a stream as open."""
        _add(self._tally.streams, {dialect: 1})

    def stream_closed(self, dialect: str) -> None:
        """Count a stream as open no more."""
        _add(self._tally.streams, {dialect: -1})

    def received(self, count: int = 1) -> None:
        """Count frames as received."""
        self._tally.received += count

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        """Count frames."""
        frames, label = self._tally.frames, (outcome, reason)
        frames[label] = frames.get(label, 0) + count

    def ignored(self, event: str) -> None:
        """Count a message that was ignored."""
        _add(self._tally.ignored, {event: 1})

    def confirmed(self, seconds: Sequence[float]) -> None:
        """Count frames as published, by the times to their confirmation."""
        counts = self._tally.confirm_counts
        for value in seconds:
            counts[bisect_left(CONFIRM_BUCKETS, value)] += 1
        self._tally.confirm_sum += sum(seconds)

    def watch(self, held_bytes: Callable[[], HeldBytes]) -> None:
        """Set the source of the bytes held."""
        self._held_bytes = held_bytes

    def watch_log(self, lines_dropped: Callable[[], int]) -> None:
        """Ask `lines_dropped` how many log lines this process has dropped."""
        self._log_lines_dropped = lines_dropped

    def rewind_short(self, frames: int) -> None:
        """Count frames let go before their time."""
        self._tally.rewind_short += frames

    def replayed(self, frames: int) -> None:
        """Count confirmed frames that are replayed."""
        self._tally.replayed += frames

    def rebased(self) -> None:
        """Count a stream that is rebased."""
        self._tally.rebased += 1

    def losses(self) -> Losses:
        """Return what this process has lost and replayed."""
        tally = self._tally
        lost = sum(count for (outcome, _), count in tally.frames.items() if outcome == "lost")
        return Losses(lost, tally.replayed, tally.rebased)

    def broker(self, *, up: bool, parts: Mapping[str, bool]) -> None:
        """Set whether the broker and its parts take writes."""
        self._tally.broker_up = up
        self._tally.broker_parts = dict(parts)

    def draining(self) -> None:
        """Note that the service drains."""
        self._tally.draining = True

    def share(self) -> None:
        """Let the siblings know. See `MetricsExposition.share`."""
        if self._siblings is not None:
            if monotonic() - self._process_read_at >= PROCESS_SECONDS:
                self._read_process()
            self._siblings.say(self._words())

    media_type = CONTENT_TYPE_LATEST

    def render(self) -> bytes:
        """Return all metrics in the text format; what is shown is shared first.

        So no later scrape shows less, whichever process answers it, and whichever dies.
        """
        self._read_process()
        self.share()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        tallies = self._living()
        yield from _process_families(tallies)
        if self._build is not None:
            build = GaugeMetricFamily(
                "ingest_build_info", "What is running", labels=["version", "python"]
            )
            build.add_metric([self._build.version, self._build.python], 1)
            yield build
        tally = self._sum(tallies)
        handshakes = CounterMetricFamily(
            "ingest_handshakes", "Handshakes by outcome", labels=["outcome"]
        )
        for outcome, count in _with_zeros(tally.handshakes, self._known.handshakes):
            handshakes.add_metric([outcome], count)
        yield handshakes
        closes = CounterMetricFamily(
            "ingest_closes", "Closes of ours by code and cause", labels=["code", "reason"]
        )
        for (code, reason), count in _with_zeros(tally.closes, self._known.closes):
            closes.add_metric([str(code), reason], count)
        yield closes
        left = CounterMetricFamily(
            "ingest_left", "Peers that left before their start", labels=["when"]
        )
        for when, count in _with_zeros(tally.left, self._known.left):
            left.add_metric([when], count)
        yield left
        odd_starts = CounterMetricFamily(
            "ingest_odd_starts", "Starts that were taken although odd", labels=["oddity"]
        )
        for oddity, count in _with_zeros(tally.odd_starts, self._known.odd_starts):
            odd_starts.add_metric([oddity], count)
        yield odd_starts
        streams = GaugeMetricFamily("ingest_streams", "Started and open", labels=["dialect"])
        for dialect, count in _with_zeros(tally.streams, self._known.dialects):
            streams.add_metric([dialect], count)
        yield streams
        frames = CounterMetricFamily(
            "ingest_frames", "Frames by what became of them", labels=["outcome", "reason"]
        )
        frames.add_metric(["received", ""], tally.received)
        frames.add_metric(["published", ""], sum(tally.confirm_counts))
        for (outcome, reason), count in _with_zeros(tally.frames, self._known.frames):
            frames.add_metric([outcome, reason], count)
        yield frames
        ignored = CounterMetricFamily(
            "ingest_ignored_messages",
            "Messages of unknown events, and signals that were dropped for back-pressure",
            labels=["event"],
        )
        for event, count in _with_zeros(tally.ignored, self._known.ignored):
            ignored.add_metric([event], count)
        yield ignored
        yield _confirm_histogram(tally)
        yield GaugeMetricFamily(
            "ingest_buffered_bytes", "Audio not yet confirmed", value=tally.buffered_bytes
        )
        yield GaugeMetricFamily(
            "ingest_kept_bytes",
            "Confirmed audio kept to replay to the broker with",
            value=tally.kept_bytes,
        )
        yield CounterMetricFamily(
            "ingest_rewind_short",
            "Confirmed frames let go before REWIND_SECONDS: too much audio, too little room",
            value=tally.rewind_short,
        )
        yield CounterMetricFamily(
            "ingest_replayed_frames",
            "Confirmed frames that the broker had lost and that were replayed",
            value=tally.replayed,
        )
        yield CounterMetricFamily(
            "ingest_rebased_streams",
            "Streams that were rebased: the broker had lost them",
            value=tally.rebased,
        )
        yield CounterMetricFamily(
            "ingest_log_lines_dropped",
            "Log lines that standard error did not take",
            value=tally.log_lines_dropped,
        )
        yield GaugeMetricFamily(
            "ingest_broker_up", "Whether the broker takes writes", value=int(tally.broker_up)
        )
        parts = GaugeMetricFamily(
            "ingest_broker_part_up", "Whether a part of the broker takes writes", labels=["part"]
        )
        for part, is_up in sorted(tally.broker_parts.items()):
            parts.add_metric([part], int(is_up))
        yield parts
        yield GaugeMetricFamily(
            "ingest_draining", "Whether calls are brought to an end", value=int(tally.draining)
        )

    def _words(self) -> bytes:
        """Write our tally, with what is asked for as of now."""
        self._tally.log_lines_dropped = self._dropped_before + self._log_lines_dropped()
        self._tally.buffered_bytes, self._tally.kept_bytes = self._held_bytes()
        return _encode(self._tally)

    def _read_process(self) -> None:
        """Look at what the process takes; where that cannot be looked at there is nothing."""
        self._process_read_at = monotonic()
        self._tally.process = {
            family.name: family.samples[0].value for family in self._process.collect()
        }

    def _living(self) -> list[_Tally]:
        """Return the tallies of the living processes, our own first."""
        words = () if self._siblings is None else self._siblings.others()
        return [_decode(self._words()), *map(_decode, words)]

    def _sum(self, living: Iterable[_Tally]) -> _Tally:
        """Return the sum of tallies, and of those that outlive their process."""
        tally, *others = (_decode(_encode(each)) for each in living)
        for other in others:
            tally.add(other)
        for words in () if self._siblings is None else self._siblings.gone():
            tally.add_counts(_decode(words))
        return tally


_Label = TypeVar("_Label", str, tuple[str, str], tuple[int, str])


def _with_zeros(
    counts: Mapping[_Label, int], known: Iterable[_Label]
) -> Iterable[tuple[_Label, int]]:
    """Return the counts by label, 0 for those that are known and not counted yet."""
    return {**dict.fromkeys(known, 0), **counts}.items()


_PROCESS: tuple[tuple[str, type[GaugeMetricFamily | CounterMetricFamily], str], ...] = (
    ("process_cpu_seconds", CounterMetricFamily, "CPU time, of user and system"),
    ("process_resident_memory_bytes", GaugeMetricFamily, "Memory that is resident"),
    ("process_virtual_memory_bytes", GaugeMetricFamily, "Address space"),
    ("process_start_time_seconds", GaugeMetricFamily, "When the process was started, Unix time"),
    ("process_open_fds", GaugeMetricFamily, "Descriptors that are open"),
    ("process_max_fds", GaugeMetricFamily, "Descriptors that may be open"),
)
"""The names that Prometheus gives to these."""


def _process_families(living: Iterable[_Tally]) -> Iterator[Metric]:
    """Yield what each process takes: a sum would hide the one that grows."""
    for name, kind, documentation in _PROCESS:
        family = kind(name, documentation, labels=["worker"])
        for tally in living:
            if name in tally.process:
                family.add_metric([str(tally.worker)], tally.process[name])
        if family.samples:
            yield family


def _confirm_histogram(tally: _Tally) -> HistogramMetricFamily:
    bounds = [*(str(bound) for bound in CONFIRM_BUCKETS), "+Inf"]
    buckets = list(zip(bounds, accumulate(tally.confirm_counts), strict=True))
    return HistogramMetricFamily(
        "ingest_confirm_seconds",
        "From a frame's reception to the broker's confirmation",
        buckets=buckets,
        sum_value=tally.confirm_sum,
    )
