"""Telemetry that remembers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from application.ports.telemetry import HeldBytes, Losses, Telemetry


class CountingTelemetry(Telemetry):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.handshakes: Counter[str] = Counter()
        self.closes: Counter[tuple[int, str]] = Counter()
        self.leavings: Counter[str] = Counter()
        self.odd_starts: Counter[str] = Counter()
        self.open_streams: Counter[str] = Counter()
        self.run_ends: Counter[str] = Counter()
        self.counted: Counter[tuple[str, str]] = Counter()
        self.ignored_messages: Counter[str] = Counter()
        self.confirm_seconds: list[float] = []
        self.short_frames = 0
        self.replayed_frames = 0
        self.rebased_streams = 0
        self.broker_is_up: list[bool] = []
        self.broker_parts: list[dict[str, bool]] = []
        self.other_requests: Counter[str] = Counter()
        self.broker_since_ms: list[int] = []
        self.drains = 0
        self.findings: Counter[str] = Counter()
        self.ended_runs: list[tuple[str, tuple[str, ...]]] = []
        self.samples: Counter[str] = Counter()

    def handshake(self, outcome: str, *, is_handshake: bool = True) -> None:
        self.handshakes[outcome] += 1
        self.other_requests[outcome] += not is_handshake

    def closed(self, code: int, reason: str) -> None:
        self.closes[code, reason] += 1

    def left(self, when: str) -> None:
        self.leavings[when] += 1

    def odd_start(self, oddity: str) -> None:
        self.odd_starts[oddity] += 1

    def stream_opened(self, dialect: str) -> None:
        self.open_streams[dialect] += 1

    def stream_closed(self, dialect: str) -> None:
        self.open_streams[dialect] -= 1

    def run_ended(self, reason: str) -> None:
        self.run_ends[reason] += 1

    def received(self, count: int = 1) -> None:
        self.counted["received", ""] += count

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        self.counted[outcome, reason] += count

    def ignored(self, event: str) -> None:
        self.ignored_messages[event] += 1

    def confirmed(self, seconds: Sequence[float]) -> None:
        self.confirm_seconds += seconds
        self.counted["published", ""] += len(seconds)

    def watch(self, held_bytes: Callable[[], HeldBytes]) -> None:
        self.held_bytes = held_bytes

    def watch_oldest(self, seconds: Callable[[], float]) -> None:
        self.oldest_seconds = seconds

    def rewind_short(self, frames: int) -> None:
        self.short_frames += frames

    def replayed(self, frames: int) -> None:
        self.replayed_frames += frames

    def rebased(self) -> None:
        self.rebased_streams += 1

    def audio_found(self, finding: str) -> None:
        self.findings[finding] += 1

    def audio_ended(self, tenant: str, findings: Sequence[str]) -> None:
        self.ended_runs.append((tenant, tuple(findings)))

    def audio_sampled(self, outcome: str) -> None:
        self.samples[outcome] += 1

    def losses(self) -> Losses:
        return Losses(self.total("lost"), self.replayed_frames, self.rebased_streams)

    def broker(self, *, up: bool, parts: Mapping[str, bool], since_ms: int) -> None:
        self.broker_is_up.append(up)
        self.broker_parts.append(dict(parts))
        self.broker_since_ms.append(since_ms)

    def draining(self) -> None:
        self.drains += 1

    def total(self, outcome: str) -> int:
        """Frames of this outcome, whatever the reason."""
        return sum(count for (kind, _), count in self.counted.items() if kind == outcome)
