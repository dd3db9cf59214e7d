"""A process's memory of the last minutes, for operators who open a view later."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from adapters.outbound.prometheus.counts import add_to
from application.ports.exposition import HANDSHAKE_MINUTES, BrokerOutage
from application.ports.telemetry import ACCEPTED

MAX_OUTAGES = 8
MINUTE_MS = 60_000

MIN_OUTAGE_MS = 1_000
"""A shorter outage that cost nothing is not remembered: a new connection, for instance."""


class Lately(msgspec.Struct):
    """The memory in the form that siblings share."""

    since_ms: int = 0
    outages: list[BrokerOutage] = []
    handshakes: dict[str, dict[int, int]] = {}
    refused_at_ms: dict[str, int] = {}

    def without_lasting(self) -> "Lately":
        """Return the part that outlives the process: without an outage that has not ended."""
        over = [it for it in self.outages if it.until_ms is not None]
        return Lately(self.since_ms, over, self.handshakes, self.refused_at_ms)

    def add(self, other: "Lately") -> None:
        """Take what another process remembers too."""
        self.since_ms = min(self.since_ms, other.since_ms)
        self.outages += other.outages
        for outcome, by_minute in other.handshakes.items():
            add_to(self.handshakes.setdefault(outcome, {}), by_minute)
        for outcome, at_ms in other.refused_at_ms.items():
            self.refused_at_ms[outcome] = max(at_ms, self.refused_at_ms.get(outcome, 0))


@dataclass(frozen=True, slots=True)
class Costs:
    """The losses so far: lost frames, and handshakes refused without a broker."""

    lost: int
    turned_away: int


@dataclass(slots=True)
class _Away:
    """The current outage; `before` has the losses from before it."""

    since_ms: int
    before: Costs
    is_partial: bool

    def outage(self, until_ms: int | None, costs: Costs) -> BrokerOutage:
        """Return it with what it has cost until now."""
        before = self.before
        return BrokerOutage(
            self.since_ms,
            until_ms,
            costs.lost - before.lost,
            costs.turned_away - before.turned_away,
            self.is_partial,
        )


class Memory:
    """Remembers the handshakes of the last minutes and the last outages of the broker; bounded.

    `before` is what a process before this one remembered.
    """

    def __init__(self, now_ms: int, before: Lately | None = None) -> None:
        before = Lately(now_ms) if before is None else before.without_lasting()
        self._since_ms = before.since_ms
        self._over: deque[BrokerOutage] = deque(before.outages, MAX_OUTAGES)
        self._away: _Away | None = None
        self._handshakes = before.handshakes
        self._refused_at_ms = before.refused_at_ms

    def handshake(self, outcome: str, now_ms: int) -> None:
        """Take a handshake; what is older than the last minutes is let go."""
        by_minute, minute = self._handshakes.setdefault(outcome, {}), now_ms // MINUTE_MS
        add_to(by_minute, {minute: 1})
        for old in [it for it in by_minute if it <= minute - HANDSHAKE_MINUTES]:
            del by_minute[old]
        if outcome != ACCEPTED:
            self._refused_at_ms[outcome] = now_ms

    def broker(self, *, up: bool, is_partial: bool, since_ms: int, costs: Costs) -> None:
        """Note whether the broker takes writes, and since when that is so."""
        away = self._away
        if not up:
            if away is None:
                self._away = _Away(since_ms, costs, is_partial)
            else:
                away.is_partial = away.is_partial and is_partial
        elif away is not None:
            outage, self._away = away.outage(since_ms, costs), None
            has_cost = outage.lost > 0 or outage.turned_away > 0
            if has_cost or since_ms - outage.since_ms >= MIN_OUTAGE_MS:
                if len(self._over) == MAX_OUTAGES:
                    self._since_ms = self._over[0].until_ms or self._since_ms
                self._over.append(outage)

    def lately(self, costs: Costs) -> Lately:
        """Return what is remembered; the outage that lasts has cost what was lost until now."""
        away: Iterable[BrokerOutage] = (
            [] if self._away is None else [self._away.outage(None, costs)]
        )
        return Lately(self._since_ms, [*self._over, *away], self._handshakes, self._refused_at_ms)
