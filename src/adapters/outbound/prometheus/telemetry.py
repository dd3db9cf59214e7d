"""`PrometheusTelemetry`: counts here, shows the sums over all processes of the service.

The hot path only adds to plain integers; a scrape converts them to metrics. The processes of a
service share their counts regularly, and each shows the sums when scraped. Counts outlive a
process: its successor continues with them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic, time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from adapters.outbound.prometheus.counts import add_to
from adapters.outbound.prometheus.families import (
    Build,
    Series,
    build_families,
    families,
    place_families,
    process_families,
)
from adapters.outbound.prometheus.lately import Costs, Memory
from adapters.outbound.prometheus.tally import (
    CONFIRM_BUCKETS,
    Tally,
    count_ended,
    decode,
    encode,
)
from application.ports.exposition import MetricsExposition, ServiceState
from application.ports.places import Places
from application.ports.siblings import Siblings
from application.ports.telemetry import NO_BROKER, HeldBytes, Losses, Telemetry

PROCESS_SECONDS = 5.0
"""The maximum age of other processes' memory and descriptor figures, which are slow to determine if
many descriptors are open."""


class PrometheusTelemetry(Telemetry, MetricsExposition, Collector):
    """Counts, and renders what was counted, here and by the `siblings` if there are any."""

    def __init__(
        self,
        siblings: Siblings | None = None,
        known: Series | None = None,
        build: Build | None = None,
        places: Places | None = None,
        buffer_bytes: int = 0,
    ) -> None:
        self._siblings = siblings
        self._known = known or Series()
        self._build = build
        self._places = places
        self._process = ProcessCollector(registry=None)
        self._process_read_at = -PROCESS_SECONDS
        snapshot = None if siblings is None else siblings.own()
        before = None if snapshot is None else decode(snapshot)
        self._tally = Tally() if before is None else before.without_gauges()
        self._memory = Memory(_epoch_ms(), None if before is None else before.lately)
        self._tally.worker = 0 if siblings is None else siblings.number
        self._tally.max_buffered_bytes = buffer_bytes
        self._held_bytes: Callable[[], HeldBytes] = lambda: HeldBytes(0, 0)
        self._oldest_seconds: Callable[[], float] = lambda: 0.0
        self._is_ready: Callable[[], bool] = lambda: False
        self._log_lines_dropped: Callable[[], int] = lambda: 0
        self._dropped_before = self._tally.log_lines_dropped
        self._spans_dropped: Callable[[], int] = lambda: 0
        self._spans_before = self._tally.spans_dropped
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def handshake(self, outcome: str, *, is_handshake: bool = True) -> None:
        """Count a handshake, or another request that is refused."""
        add_to(self._tally.handshakes, {outcome: 1})
        if is_handshake:
            self._memory.handshake(outcome, _epoch_ms())

    def closed(self, code: int, reason: str) -> None:
        """Count a close."""
        add_to(self._tally.closes, {(code, reason): 1})

    def left(self, when: str) -> None:
        """Count a peer that left."""
        add_to(self._tally.left, {when: 1})

    def odd_start(self, oddity: str) -> None:
        """Count an odd start."""
        add_to(self._tally.odd_starts, {oddity: 1})

    def stream_opened(self, dialect: str) -> None:
        """Count a start, and a stream as open."""
        add_to(self._tally.starts, {dialect: 1})
        add_to(self._tally.streams, {dialect: 1})

    def stream_closed(self, dialect: str) -> None:
        """Count a stream as open no more."""
        add_to(self._tally.streams, {dialect: -1})

    def run_ended(self, reason: str) -> None:
        """Count a run that ended."""
        add_to(self._tally.run_ends, {reason: 1})

    def received(self, count: int = 1) -> None:
        """Count frames as received."""
        self._tally.received += count

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        """Count frames."""
        frames, label = self._tally.frames, (outcome, reason)
        frames[label] = frames.get(label, 0) + count

    def ignored(self, event: str) -> None:
        """Count a message that was ignored."""
        add_to(self._tally.ignored, {event: 1})

    def confirmed(self, seconds: Sequence[float]) -> None:
        """Count frames as published, by the times to their confirmation."""
        counts = self._tally.confirm_counts
        for value in seconds:
            counts[bisect_left(CONFIRM_BUCKETS, value)] += 1
        self._tally.confirm_sum += sum(seconds)

    def watch(self, held_bytes: Callable[[], HeldBytes]) -> None:
        """Set the source of the bytes held."""
        self._held_bytes = held_bytes

    def watch_oldest(self, seconds: Callable[[], float]) -> None:
        """Set the source of the age of the oldest unconfirmed frame."""
        self._oldest_seconds = seconds

    def watch_ready(self, is_ready: Callable[[], bool]) -> None:
        """Ask `is_ready` whether this process takes new calls."""
        self._is_ready = is_ready

    def watch_log(self, lines_dropped: Callable[[], int]) -> None:
        """Ask `lines_dropped` how many log lines this process has dropped."""
        self._log_lines_dropped = lines_dropped

    def watch_spans(self, dropped: Callable[[], int]) -> None:
        """Ask `dropped` how many spans this process has dropped."""
        self._spans_dropped = dropped

    def rewind_short(self, frames: int) -> None:
        """Count frames released before `REWIND_SECONDS`."""
        self._tally.rewind_short += frames

    def replayed(self, frames: int) -> None:
        """Count confirmed frames that are replayed."""
        self._tally.replayed += frames

    def rebased(self) -> None:
        """Count a stream that is rebased."""
        self._tally.rebased += 1

    def audio_found(self, finding: str) -> None:
        """Count a run whose audio has a finding."""
        add_to(self._tally.audio_found, {finding: 1})

    def audio_ended(self, tenant: str, findings: Sequence[str]) -> None:
        """Count an ended run and its findings."""
        count_ended(self._tally.audio_ended, tenant, findings)

    def audio_sampled(self, outcome: str) -> None:
        """Count a frame that was to be measured."""
        add_to(self._tally.audio_sampled, {outcome: 1})

    def losses(self) -> Losses:
        """Return what this process has lost and replayed."""
        tally = self._tally
        return Losses(tally.lost, tally.replayed, tally.rebased)

    def broker(self, *, up: bool, parts: Mapping[str, bool], since_ms: int) -> None:
        """Set whether the broker and its parts take writes."""
        self._tally.broker_up = up
        self._tally.broker_parts = dict(parts)
        is_partial = any(parts.values())
        self._memory.broker(up=up, is_partial=is_partial, since_ms=since_ms, costs=self._costs())

    def draining(self) -> None:
        """Note that the service drains."""
        self._tally.draining = True

    def share(self) -> None:
        """Share the counts with the siblings. See `MetricsExposition.share`."""
        if self._siblings is not None:
            if monotonic() - self._process_read_at >= PROCESS_SECONDS:
                self._read_process()
            self._siblings.say(self._words())

    def service_state(self) -> ServiceState:
        """Return the state of all processes. See `MetricsExposition.service_state`."""
        tally = self._sum(self._living())
        return ServiceState(
            bool(tally.broker_up),
            sum(tally.streams.values()),
            tally.buffered_bytes,
            tally.oldest_unconfirmed_seconds,
            tally.lost,
            tally.received,
            tally.draining,
            tally.lately.outages,
            tally.lately.since_ms,
            tally.lately.handshakes,
            tally.lately.refused_at_ms,
        )

    media_type = CONTENT_TYPE_LATEST

    def render(self) -> bytes:
        """Return all metrics in the text format; what is shown is shared first.

        So no later scrape shows lower values, whichever process answers it or dies.
        """
        self._read_process()
        self.share()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        living = self._living()
        yield from process_families(living)
        yield from build_families(self._build)
        yield from place_families(self._places)
        yield from families(self._sum(living), self._known)

    def _words(self) -> bytes:
        """Write our tally, with what is asked for as of now."""
        self._tally.log_lines_dropped = self._dropped_before + self._log_lines_dropped()
        self._tally.spans_dropped = self._spans_before + self._spans_dropped()
        self._tally.buffered_bytes, self._tally.retained_bytes = self._held_bytes()
        self._tally.oldest_unconfirmed_seconds = self._oldest_seconds()
        self._tally.ready = self._is_ready()
        self._tally.lately = self._memory.lately(self._costs())
        return encode(self._tally)

    def _costs(self) -> Costs:
        return Costs(self._tally.lost, self._tally.handshakes.get(NO_BROKER, 0))

    def _read_process(self) -> None:
        """Look at what the process takes; where that cannot be looked at there is nothing."""
        self._process_read_at = monotonic()
        self._tally.process = {
            family.name: family.samples[0].value for family in self._process.collect()
        }

    def _living(self) -> list[Tally]:
        """Return the tallies of the living processes, our own first."""
        words = () if self._siblings is None else self._siblings.others()
        return [decode(self._words()), *map(decode, words)]

    def _sum(self, living: Iterable[Tally]) -> Tally:
        """Return the sum of tallies, and of those that outlive their process."""
        tally, *others = (decode(encode(each)) for each in living)
        for other in others:
            tally.add(other)
        for words in () if self._siblings is None else self._siblings.gone():
            gone = decode(words)
            tally.add_counts(gone)
            tally.lately.add(gone.lately.without_lasting())
        return tally


def _epoch_ms() -> int:
    return round(time() * 1_000)
