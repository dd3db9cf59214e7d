"""One run: a fresh broker, one program, one load, and what came of it."""

import os
import signal
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from benchmarks.broker import Broker
from benchmarks.load import Closed, Opened, Spoken, run_loader
from benchmarks.machine import Cores
from benchmarks.measure import Percentiles, busy_seconds, cpu_seconds, resident_mb
from benchmarks.observe import Observed, Recovery, run_observer
from benchmarks.plan import NS_PER_MS, Freeze, Load, Mode
from benchmarks.servers import Program, Server, running
from benchmarks.verify import Findings, verify
from benchmarks.workers import TrialFailed, Worker, process

_IN_MEMORY = {"appendonly": "no"}
"""The broker's own disk is not what is measured; it would write on the loader's core."""

_HEAD_START_NS = 200 * NS_PER_MS
"""From telling loader and observer when to begin until then."""

_QUIET_SECONDS, _QUIET_SHARE = 0.2, 0.1
"""A server is quiet that uses less than this share of a core for this long."""

_QUIETEN_SECONDS = 20.0

_KIB_PER_MB = 1_024


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a broker that is frozen for a while costs.

    Memory in MiB: the highest before it was frozen, and what was held before it and just before it
    was thawed; `audio_mb` is what the senders have sent meanwhile, if they are paced.
    """

    peak_before_mb: float | None
    before_mb: float | None
    after_mb: float | None
    seconds: float
    audio_mb: float | None
    recovery: Recovery | None = None


@dataclass(slots=True)
class Outcome:
    """What one run gave; None where it does not apply or could not be measured.

    CPU in µs a frame, of the server and of the broker; shares in percent of a core; memory in MiB;
    `idle_kib` is the server's growth for each idle call. `others_percent` is how busy the cores are
    that are not the server's. `strangers_percent` is the share of our cores that went to processes
    that are not ours.
    """

    frames: int
    seconds: float = 0.0
    cpu_us: float | None = None
    redis_us: float | None = None
    server_percent: float | None = None
    loader_percent: float | None = None
    others_percent: float | None = None
    strangers_percent: float | None = None
    peak_mb: float | None = None
    resident_mb: float | None = None
    idle_kib: float | None = None
    latency_ms: Percentiles | None = None
    late_ms: Percentiles | None = None
    frozen: Frozen | None = None
    held_up: int = 0
    refusals: int = 0
    findings: Findings | None = None
    complaints: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, repeated, altered or refused."""
        return not self.complaints and (self.findings is None or self.findings.is_clean)


@dataclass(frozen=True, slots=True)
class _Reading:
    wall: float
    server: float | None
    redis: float
    loader: float | None
    ours: float | None
    others: float | None
    everybody: float | None


class _Meter:
    """Reads CPU time from now on."""

    def __init__(self, server_pid: int, loader_pid: int, broker: Broker, cores: Cores) -> None:
        self._server_pid = server_pid
        self._loader_pid = loader_pid
        self._broker = broker
        self._cores = cores
        self._began = self._look()

    def read_into(self, outcome: Outcome) -> None:
        began, now = self._began, self._look()
        outcome.seconds = now.wall - began.wall
        outcome.redis_us = (now.redis - began.redis) * 1e6 / outcome.frames
        if now.server is not None and began.server is not None:
            used = now.server - began.server
            outcome.cpu_us = used * 1e6 / outcome.frames
            outcome.server_percent = 100 * used / outcome.seconds
        if now.loader is not None and began.loader is not None:
            outcome.loader_percent = 100 * (now.loader - began.loader) / outcome.seconds
        if now.others is not None and began.others is not None:
            outcome.others_percent = 100 * (now.others - began.others) / outcome.seconds
        outcome.strangers_percent = self._strangers(began, now)

    def _strangers(self, began: _Reading, now: _Reading) -> float | None:
        if None in (began.ours, now.ours, began.everybody, now.everybody):
            return None
        everybody = (now.everybody or 0.0) - (began.everybody or 0.0)
        ours = (now.ours or 0.0) - (began.ours or 0.0)
        offered = (now.wall - began.wall) * self._cores.count
        return max(0.0, 100 * (everybody - ours) / offered)

    def _look(self) -> _Reading:
        return _Reading(
            wall=time.monotonic(),
            server=cpu_seconds(self._server_pid),
            redis=self._broker.cpu_seconds(),
            loader=cpu_seconds(self._loader_pid),
            ours=cpu_seconds(os.getpid()),
            others=busy_seconds(self._cores.others) if self._cores.others else None,
            everybody=busy_seconds(self._cores.server | self._cores.others),
        )


class _Trial:
    def __init__(
        self,
        load: Load,
        program: Program,
        server: Server,
        broker: Broker,
        valkey: EmbeddedValkey,
        cores: Cores,
    ) -> None:
        self._load = load
        self._program = program
        self._server = server
        self._broker = broker
        self._valkey = valkey
        self._cores = cores
        self._outcome = Outcome(load.total)

    def run(self) -> Outcome:
        before_mb = self._settled_mb()
        with process(run_loader, self._load, self._server.port) as loader:
            loader.expect(Opened)
            with_calls_mb = self._settled_mb()
            match self._load.mode:
                case Mode.IDLE:
                    self._note_idle(before_mb, with_calls_mb)
                    loader.tell("end")
                    closed = loader.expect(Closed)
                case Mode.PACED:
                    closed = self._pace(loader)
                case Mode.SATURATE:
                    closed = self._saturate(loader)
        self._judge(closed)
        return self._outcome

    def _saturate(self, loader: Worker) -> Closed:
        meter = self._meter(loader)
        begin_ns = time.monotonic_ns()
        loader.tell(begin_ns)
        self._freeze(begin_ns)
        closed = loader.expect(Closed)
        meter.read_into(self._outcome)
        return closed

    def _pace(self, loader: Worker) -> Closed:
        layout = self._program.layout
        if layout is None:
            raise TrialFailed(f"{self._program.name} publishes nothing that could be observed")
        with process(run_observer, self._load, layout, self._valkey.url) as observer:
            time.sleep(_QUIET_SECONDS)  # it has to be listening
            begin_ns = time.monotonic_ns() + _HEAD_START_NS
            loader.tell(begin_ns)
            observer.tell(begin_ns)
            _sleep_until(begin_ns)
            meter = self._meter(loader)
            self._freeze(begin_ns)
            spoken = loader.expect(Spoken)
            observed = observer.expect(Observed)
            meter.read_into(self._outcome)
        self._outcome.latency_ms = observed.latency_ms
        self._outcome.late_ms = spoken.late_ms
        self._outcome.held_up = spoken.held_up
        if self._outcome.frozen is not None:
            self._outcome.frozen = replace(self._outcome.frozen, recovery=observed.recovery)
        if observed.missed:
            self._outcome.complaints.append(f"{observed.missed} frames were not seen in time")
        loader.tell("end")
        return loader.expect(Closed)

    def _freeze(self, begin_ns: int) -> None:
        """Freeze the broker for a while, if that is planned."""
        freeze = self._load.freeze
        if freeze is None:
            return
        pid, broker_pid = self._server.pid, self._valkey.pid
        _sleep_until(begin_ns + freeze.begin_ns)
        peak_before_mb, before_mb = resident_mb(pid, peak=True), resident_mb(pid)
        os.kill(broker_pid, signal.SIGSTOP)
        try:
            _sleep_until(begin_ns + freeze.end_ns - NS_PER_MS)
            after_mb = resident_mb(pid)
            _sleep_until(begin_ns + freeze.end_ns)
        finally:
            os.kill(broker_pid, signal.SIGCONT)
        self._outcome.frozen = Frozen(
            peak_before_mb, before_mb, after_mb, freeze.seconds, self._sent_mb(freeze)
        )

    def _sent_mb(self, freeze: Freeze) -> float | None:
        """Return how much audio is sent while the broker is frozen."""
        load = self._load
        if load.mode is not Mode.PACED:
            return None
        frames = load.calls * freeze.seconds * 1_000 / load.interval_ms
        return frames * load.size / _KIB_PER_MB**2

    def _meter(self, loader: Worker) -> _Meter:
        return _Meter(self._server.pid, loader.pid, self._broker, self._cores)

    def _note_idle(self, before_mb: float | None, with_calls_mb: float | None) -> None:
        if before_mb is not None and with_calls_mb is not None:
            growth = (with_calls_mb - before_mb) * _KIB_PER_MB
            self._outcome.idle_kib = growth / self._load.calls
            self._outcome.resident_mb = with_calls_mb

    def _settled_mb(self) -> float | None:
        """Wait until the server is quiet and return its memory.

        Raises:
            TrialFailed: it does not come to rest.

        """
        pid = self._server.pid
        give_up_at = time.monotonic() + _QUIETEN_SECONDS
        while (used := cpu_seconds(pid)) is not None:
            time.sleep(_QUIET_SECONDS)
            if (cpu_seconds(pid) or 0.0) - used < _QUIET_SECONDS * _QUIET_SHARE:
                return resident_mb(pid)
            if time.monotonic() > give_up_at:
                raise TrialFailed(f"{self._program.name} does not come to rest")
        time.sleep(_QUIETEN_SECONDS / 10)  # nothing can be measured here
        return None

    def _judge(self, closed: Closed) -> None:
        self._outcome.refusals = closed.refusals
        if closed.refusals:
            self._outcome.complaints.append(f"{closed.refusals} messages were refused")
        unusual = {code: count for code, count in closed.codes.items() if code != "1000"}
        if unusual:
            self._outcome.complaints.append(f"closed with {unusual}")


def _sleep_until(instant_ns: int) -> None:
    """Sleep until an instant of the monotonic clock."""
    time.sleep(max(0.0, (instant_ns - time.monotonic_ns()) / 1e9))


def attempt(load: Load, program: Program, cores: Cores) -> Outcome:
    """Run a load against a program.

    Raises:
        TrialFailed: the load could not be carried out.
        ServerFailed: the program did not start, or ended by itself.

    """
    with (
        tempfile.TemporaryDirectory(prefix="rtaa-bench-") as folder,
        EmbeddedValkey(**_IN_MEMORY) as valkey,
        running(program, valkey.url, Path(folder) / "server.log", cores) as server,
        Broker(valkey.url) as broker,
    ):
        outcome = _Trial(load, program, server, broker, valkey, cores).run()
        outcome.peak_mb = resident_mb(server.pid, peak=True)
        if program.layout is not None:
            outcome.findings = verify(valkey.url, load, program.layout)
    return outcome
