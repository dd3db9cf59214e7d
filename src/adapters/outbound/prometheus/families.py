"""Tallies as metrics. Names, types, help texts and labels are defined only here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from adapters.outbound.prometheus.tally import ALL_RUNS, CONFIRM_BUCKETS, OTHER_TENANTS, Tally
from application.ports.places import Places

_Label = TypeVar("_Label", str, tuple[str, str], tuple[int, str])


@dataclass(frozen=True, slots=True)
class Series:
    """The label values that are known from the start, whose series begin at 0."""

    dialects: Iterable[str] = ()
    handshakes: Iterable[str] = ()
    closes: Iterable[tuple[int, str]] = ()
    left: Iterable[str] = ()
    odd_starts: Iterable[str] = ()
    run_ends: Iterable[str] = ()
    frames: Iterable[tuple[str, str]] = ()
    ignored: Iterable[str] = ()
    findings: Iterable[str] = ()
    samples: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """What is running."""

    version: str
    python: str


def families(tally: Tally, known: Series) -> Iterator[Metric]:
    """Yield the metrics of a tally, with 0 for each `known` series without a count."""
    frames = {
        ("received", ""): tally.received,
        ("published", ""): sum(tally.confirm_counts),
        **_with_zeros(tally.frames, known.frames),
    }
    parts = {part: int(is_up) for part, is_up in sorted(tally.broker_parts.items())}
    yield _counts(
        "ingest_handshakes",
        "Handshakes by outcome",
        ("outcome",),
        _with_zeros(tally.handshakes, known.handshakes),
    )
    yield _counts(
        "ingest_closes",
        "Connections that the service closed, by code and cause",
        ("code", "reason"),
        _with_zeros(tally.closes, known.closes),
    )
    yield _counts(
        "ingest_left",
        "Peers that left before their start",
        ("when",),
        _with_zeros(tally.left, known.left),
    )
    yield _counts(
        "ingest_odd_starts",
        "Odd but accepted starts",
        ("oddity",),
        _with_zeros(tally.odd_starts, known.odd_starts),
    )
    yield _counts(
        "ingest_starts",
        "Granted starts, including those that resume",
        ("dialect",),
        _with_zeros(tally.starts, known.dialects),
    )
    yield _counts(
        "ingest_runs_ended",
        "Runs whose end is published, by reason",
        ("reason",),
        _with_zeros(tally.run_ends, known.run_ends),
    )
    yield _gauges(
        "ingest_streams",
        "Open streams",
        ("dialect",),
        _with_zeros(tally.streams, known.dialects),
    )
    yield _counts("ingest_frames", "Frames by outcome and reason", ("outcome", "reason"), frames)
    yield _counts(
        "ingest_ignored_messages",
        "Messages of unknown events, and signals dropped under back-pressure",
        ("event",),
        _with_zeros(tally.ignored, known.ignored),
    )
    yield _confirm_histogram(tally)
    yield _gauge("ingest_buffered_bytes", "Unconfirmed audio", tally.buffered_bytes)
    yield _gauge(
        "ingest_max_buffered_bytes",
        "Limit of held audio, unconfirmed and retained",
        tally.max_buffered_bytes,
    )
    yield _gauge(
        "ingest_oldest_unconfirmed_seconds",
        "Age of the oldest unconfirmed frame",
        tally.oldest_unconfirmed_seconds,
    )
    yield _gauge(
        "ingest_kept_bytes",
        "Confirmed audio retained for replay",
        tally.retained_bytes,
    )
    yield _count(
        "ingest_rewind_short",
        "Confirmed frames released before REWIND_SECONDS",
        tally.rewind_short,
    )
    yield _count(
        "ingest_replayed_frames",
        "Confirmed frames that the broker lost and that were replayed or rebased",
        tally.replayed,
    )
    yield _count(
        "ingest_rebased_streams",
        "Streams that the broker lost and that were rebased",
        tally.rebased,
    )
    yield _count(
        "ingest_log_lines_dropped",
        "Log lines dropped because standard error did not accept them",
        tally.log_lines_dropped,
    )
    yield _count(
        "ingest_spans_dropped",
        "Spans dropped because they could not be exported",
        tally.spans_dropped,
    )
    yield from _audio_families(tally, known)
    yield _gauge(
        "ingest_broker_up", "Whether the broker is up and in sync", int(bool(tally.broker_up))
    )
    yield _gauges(
        "ingest_broker_part_up", "Whether a part of the broker is up and in sync", ("part",), parts
    )
    yield _gauge("ingest_ready", "Whether new calls are taken", int(tally.ready))
    yield _gauge("ingest_draining", "Whether the service drains", int(tally.draining))


def _audio_families(tally: Tally, known: Series) -> Iterator[Metric]:
    tenants: dict[str, dict[str, int]] = {OTHER_TENANTS: {}, **tally.audio_ended}
    yield _counts(
        "ingest_audio_health_streams",
        "Runs with a finding about their audio, once for each run and kind",
        ("kind",),
        _with_zeros(tally.audio_found, known.findings),
    )
    yield _counts(
        "ingest_audio_health_runs",
        "Ended runs whose audio was measured",
        ("tenant",),
        {tenant: runs.get(ALL_RUNS, 0) for tenant, runs in tenants.items()},
    )
    yield _counts(
        "ingest_audio_health_run_findings",
        "Ended runs with a finding about their audio",
        ("tenant", "kind"),
        {
            (tenant, finding): runs.get(finding, 0)
            for tenant, runs in tenants.items()
            for finding in known.findings
        },
    )
    yield _counts(
        "ingest_audio_health_samples",
        "Frames chosen for measurement",
        ("outcome",),
        _with_zeros(tally.audio_sampled, known.samples),
    )


def build_families(build: Build | None) -> Iterator[Metric]:
    """Yield what is running, if that is known."""
    if build is not None:
        labels = {(build.version, build.python): 1}
        yield _gauges("ingest_build_info", "What is running", ("version", "python"), labels)


def place_families(places: Places | None) -> Iterator[Metric]:
    """Yield how many connections there are and may be, if that is known."""
    if places is not None:
        yield _gauge("ingest_connections", "Open WebSockets, started or not", places.taken)
        yield _gauge("ingest_max_connections", "WebSockets that may be open", places.places)


_PROCESS: tuple[tuple[str, type[GaugeMetricFamily | CounterMetricFamily], str], ...] = (
    ("process_cpu_seconds", CounterMetricFamily, "CPU time, of user and system"),
    ("process_resident_memory_bytes", GaugeMetricFamily, "Memory that is resident"),
    ("process_virtual_memory_bytes", GaugeMetricFamily, "Address space"),
    ("process_start_time_seconds", GaugeMetricFamily, "When the process was started, Unix time"),
    ("process_open_fds", GaugeMetricFamily, "Descriptors that are open"),
    ("process_max_fds", GaugeMetricFamily, "Descriptors that may be open"),
)
"""The names that Prometheus gives to these."""


def process_families(living: Iterable[Tally]) -> Iterator[Metric]:
    """Yield the resources of each process: a sum would hide one that grows."""
    for name, kind, documentation in _PROCESS:
        family = kind(name, documentation, labels=["worker"])
        for tally in living:
            if name in tally.process:
                family.add_metric([str(tally.worker)], tally.process[name])
        if family.samples:
            yield family


def _confirm_histogram(tally: Tally) -> HistogramMetricFamily:
    bounds = [*(str(bound) for bound in CONFIRM_BUCKETS), "+Inf"]
    buckets = list(zip(bounds, accumulate(tally.confirm_counts), strict=True))
    return HistogramMetricFamily(
        "ingest_confirm_seconds",
        "From a frame's reception to the broker's confirmation",
        buckets=buckets,
        sum_value=tally.confirm_sum,
    )


def _with_zeros(counts: Mapping[_Label, int], known: Iterable[_Label]) -> dict[_Label, int]:
    """Return the counts by label, 0 for those that are known and not counted yet."""
    return {**dict.fromkeys(known, 0), **counts}


def _counts(
    name: str, documentation: str, labels: tuple[str, ...], values: Mapping[_Label, int]
) -> Metric:
    return _filled(CounterMetricFamily(name, documentation, labels=labels), values)


def _gauges(
    name: str, documentation: str, labels: tuple[str, ...], values: Mapping[_Label, int]
) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[_Label, int]
) -> Metric:
    for label, value in values.items():
        parts = (label,) if isinstance(label, str) else label
        family.add_metric([str(part) for part in parts], value)
    return family


def _count(name: str, documentation: str, value: int) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
