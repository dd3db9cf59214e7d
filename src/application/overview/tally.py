"""Counts over all calls, in one pass."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from application.overview.call import Call
from application.overview.condition import Condition
from application.ports.clock import Instant
from domain.events import EndReason

LATE_MS = 1_000
"""From this latency on a call is published late."""

ORDERLY = frozenset({EndReason.ENDED, EndReason.CALLENDED, EndReason.STOPPED})


@dataclass(slots=True)
class Trouble:
    """Calls with one kind of trouble; `last_at` is None if it was before the view was opened."""

    calls: int = 0
    missing: int = 0
    lost: int = 0
    names: Counter[str] = field(default_factory=Counter)
    last_at: float | None = None

    def take(self, at: float | None, names: Iterable[str] = ()) -> None:
        """Count a call."""
        self.calls += 1
        self.names.update(names)
        if at is not None:
            self.last_at = at if self.last_at is None else max(at, self.last_at)

    def take_absent(self, call: Call, at: float | None) -> None:
        """Count a call with the frames of it that are absent."""
        self.take(at)
        self.missing += call.ledger.missing
        self.lost += call.ledger.lost


@dataclass(slots=True)
class Tally:
    """Counts over all calls; seconds and milliseconds are maxima. `past_…`: of ended calls.

    A call that could not be read is in no condition, unless the store `is_away`: then all is as it
    was seen last.
    """

    is_away: bool = False
    conditions: Counter[Condition] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    dialects: Counter[str] = field(default_factory=Counter)
    live: int = 0
    over: int = 0
    rate: float | None = None
    unread: int = 0
    late: int = 0
    latest_ms: int = 0
    still_seconds: float = 0.0
    mute: int = 0
    mute_seconds: float = 0.0
    absent: Trouble = field(default_factory=Trouble)
    odd_audio: Trouble = field(default_factory=Trouble)
    past_absent: Trouble = field(default_factory=Trouble)
    past_odd_audio: Trouble = field(default_factory=Trouble)
    odd_ends: Trouble = field(default_factory=Trouble)
    gone: Trouble = field(default_factory=Trouble)

    def take(self, call: Call, now: Instant) -> None:
        """Count a call."""
        if call.condition.is_over:
            self.conditions[call.condition] += 1
            self._take_over(call)
        else:
            self._take_live(call, now)

    def _take_over(self, call: Call) -> None:
        self.over += 1
        if call.is_incomplete:
            self.past_absent.take_absent(call, call.over_at)
        if alarming := call.alarming:
            self.past_odd_audio.take(call.over_at, (it.value for it in alarming))
        if call.condition is Condition.GONE:
            self.gone.take(call.over_at)
        elif call.end_reason is not None and call.end_reason not in ORDERLY:
            self.odd_ends.take(call.over_at, [call.end_reason.value])

    def _take_live(self, call: Call, now: Instant) -> None:
        self.live += 1
        self.tenants[call.stream.tenant_id] += 1
        if call.dialect:
            self.dialects[call.dialect] += 1
        if call.is_incomplete:
            self.absent.take_absent(call, call.hurt_at)
        if alarming := call.alarming:
            self.odd_audio.take(None, (it.value for it in alarming))
        if call.is_unread and not self.is_away:
            self.unread += 1
            return
        self.conditions[call.condition] += 1
        if call.condition is Condition.FLOWING:
            if call.frames_per_second is not None:
                self.rate = (self.rate or 0.0) + call.frames_per_second
            if call.latency_ms is not None and call.latency_ms >= LATE_MS:
                self.late += 1
                self.latest_ms = max(self.latest_ms, call.latency_ms)
        elif call.condition is Condition.STILL:
            self.still_seconds = max(self.still_seconds, call.frame_age(now) or 0.0)
        elif call.is_mute:
            self.mute += 1
            self.mute_seconds = max(self.mute_seconds, call.waiting_seconds(now) or 0.0)
