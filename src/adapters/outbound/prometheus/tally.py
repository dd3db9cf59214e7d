"""The counts of one process, shared with its siblings."""

from collections.abc import Iterable
from typing import Any

import msgspec

from adapters.outbound.prometheus.counts import add_to
from adapters.outbound.prometheus.lately import Lately

CONFIRM_BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.4, 1.0, 2.0, 5.0, 10.0, 20.0,
    45.0, 90.0,
)  # fmt: skip
"""Upper bounds in seconds. Below 20 ms a confirmation is faster than the next frame of most
carriers. 40, 60, 100 and 200 ms are the other usual lengths of a frame. 150 and 400 ms are the
delays that ITU-T G.114 names for a conversation: good up to the first, unusable above the other.
45 s is the default of `BUFFER_SECONDS`, and 90 s is when a sender is closed 1013."""

ALL_RUNS = ""

MAX_TENANTS = 30
OTHER_TENANTS = "other"
"""Senders choose tenant names, so the series are bounded: the first tenants of a process have their
own, all further ones share one. This many fit into the snapshots that workers share."""


class Tally(msgspec.Struct):
    """What one process has counted; the gauges are as of now.

    `broker_up` is None until the process has tried the broker: then it does not count.
    """

    worker: int = 0
    handshakes: dict[str, int] = {}
    closes: dict[tuple[int, str], int] = {}
    left: dict[str, int] = {}
    odd_starts: dict[str, int] = {}
    starts: dict[str, int] = {}
    run_ends: dict[str, int] = {}
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
    spans_dropped: int = 0
    audio_found: dict[str, int] = {}
    audio_sampled: dict[str, int] = {}
    audio_ended: dict[str, dict[str, int]] = {}
    """Runs by tenant, and by finding; `ALL_RUNS` has all of a tenant."""
    streams: dict[str, int] = {}
    buffered_bytes: int = 0
    retained_bytes: int = 0
    max_buffered_bytes: int = 0
    oldest_unconfirmed_seconds: float = 0.0
    ready: bool = False
    broker_up: bool | None = None
    broker_parts: dict[str, bool] = {}
    draining: bool = False
    process: dict[str, float] = {}
    lately: Lately = msgspec.field(default_factory=Lately)

    @property
    def lost(self) -> int:
        """How many frames were lost, whatever the reason."""
        return sum(count for (outcome, _), count in self.frames.items() if outcome == "lost")

    def without_gauges(self) -> "Tally":
        """Return what outlives the process."""
        return Tally(**{name: getattr(self, name) for name in _COUNTED})

    def add(self, other: "Tally") -> None:
        """Add another tally: the broker is up only if it is for both."""
        self.add_counts(other)
        add_to(self.streams, other.streams)
        self.buffered_bytes += other.buffered_bytes
        self.retained_bytes += other.retained_bytes
        self.max_buffered_bytes += other.max_buffered_bytes
        self.oldest_unconfirmed_seconds = max(
            self.oldest_unconfirmed_seconds, other.oldest_unconfirmed_seconds
        )
        tried = [it for it in (self.broker_up, other.broker_up) if it is not None]
        self.broker_up = all(tried) if tried else None
        for part, is_up in other.broker_parts.items():
            self.broker_parts[part] = self.broker_parts.get(part, True) and is_up
        self.draining = self.draining or other.draining
        self.ready = self.ready and other.ready
        self.lately.add(other.lately)

    def add_counts(self, other: "Tally") -> None:
        """Add what outlives a process."""
        for name in _COUNTED:
            setattr(self, name, _sum(getattr(self, name), getattr(other, name)))


_GAUGES = frozenset({
    "worker", "streams", "buffered_bytes", "retained_bytes", "max_buffered_bytes",
    "oldest_unconfirmed_seconds", "ready", "broker_up", "broker_parts", "draining", "process",
    "lately",
})  # fmt: skip
_COUNTED = tuple(name for name in Tally.__struct_fields__ if name not in _GAUGES)
"""All other fields are counts, which outlive their process."""


def _sum(mine: Any, theirs: Any) -> Any:  # noqa: ANN401  # numbers, and what is made of numbers
    """Add two counts: numbers, lists of as many, or dicts by label, where one may be absent."""
    if isinstance(mine, dict):
        both = dict(mine)
        for label, count in theirs.items():
            both[label] = _sum(both.get(label, type(count)()), count)
        return both
    if isinstance(mine, list):
        return [_sum(*pair) for pair in zip(mine, theirs, strict=True)]
    return mine + theirs


def count_ended(ended: dict[str, dict[str, int]], tenant: str, findings: Iterable[str]) -> None:
    """Count a run of a tenant, and its findings."""
    if tenant not in ended and len(ended.keys() - {OTHER_TENANTS}) >= MAX_TENANTS:
        tenant = OTHER_TENANTS
    labels = dict.fromkeys((ALL_RUNS, *findings), 1)
    add_to(ended.setdefault(tenant, {}), labels)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Tally).decode
