"""Outages of the broker, as a view saw them and as the service recorded them. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from application.overview.words import Answer, Tone, age, duration, frames, number_of
from application.ports.clock import Instant

TOLD_SECONDS = 600.0
"""How long a past outage is shown on the first screen."""

MIN_SECONDS = 1.0
"""A shorter one without losses is only a new connection, and is not shown."""

MILLI = 1_000


@dataclass(slots=True)
class Outage:
    """A time in which the broker was away; `until_ms` None while it lasts.

    `lost` counts the frames lost in it, None if unknown, and `turned_away` the handshakes refused
    because of it. `is_seen_late`: a view was opened during it, so it may have begun earlier.
    `is_partial`: a part of the broker answered all the time.
    """

    since_ms: int
    until_ms: int | None = None
    lost: int | None = None
    turned_away: int = 0
    is_seen_late: bool = False
    is_partial: bool = False

    def seconds(self, now: Instant) -> float:
        """Return how long it was, or has been until now."""
        until_ms = now.epoch_ms if self.until_ms is None else self.until_ms
        return max(0, until_ms - self.since_ms) / MILLI

    @property
    def who(self) -> str:
        """What was away."""
        return "a part of the broker" if self.is_partial else "broker"


def united(outages: Iterable[Outage], combine: Callable[[Sequence[int]], int]) -> list[Outage]:
    """Merge overlapping outages, in order of time; `combine` merges their losses.

    Losses of several processes add up; of two records of one outage the larger loss counts.
    """
    found: list[Outage] = []
    for it in sorted(outages, key=lambda it: it.since_ms):
        last = found[-1] if found else None
        if last is None or (last.until_ms is not None and last.until_ms < it.since_ms):
            found.append(it)
        else:
            found[-1] = _both(last, it, combine)
    return found


def current(outages: Sequence[Outage]) -> Outage | None:
    """Return the current outage from those in order of time."""
    return outages[-1] if outages and outages[-1].until_ms is None else None


def over(outages: Sequence[Outage], now: Instant) -> Answer | None:
    """Describe recent outages and their losses; None without one."""
    oldest = now.epoch_ms - round(TOLD_SECONDS * MILLI)
    found = [
        it
        for it in outages
        if it.until_ms is not None
        and it.until_ms >= oldest
        and (it.lost or it.turned_away or it.seconds(now) >= MIN_SECONDS)
    ]
    if not found:
        return None
    who = found[0].who if len({it.who for it in found}) == 1 else "broker"
    at_least = "at least " if any(it.is_seen_late for it in found) else ""
    text = f"{who} away for {at_least}{duration(sum(it.seconds(now) for it in found))}"
    if len(found) > 1:
        text += f", {len(found)} times in the last {duration(TOLD_SECONDS)}"
    until = "back since" if current(outages) is None else "before the outage of now: until"
    return Answer(Tone.PAST, f"{text}{_cost(found)}, {until}", found[-1].until_ms)


def text_of(outage: Outage, now: Instant) -> str:
    """Describe an outage for a time line."""
    at_least = "at least " if outage.is_seen_late else ""
    text = f"{outage.who} away for {at_least}{age(outage.seconds(now))}"
    if outage.until_ms is None:
        text += ", still"
    if outage.is_seen_late:
        text += ": it was away when this view was opened, and may have been before"
    return text


def _cost(outages: Sequence[Outage]) -> str:
    lost = [it.lost for it in outages if it.lost is not None]
    text = (
        "" if not lost else ", no frame lost" if sum(lost) == 0 else f", {frames(sum(lost))} lost"
    )
    if away := sum(it.turned_away for it in outages):
        text += f", {number_of(away, 'handshake')} refused"
    return text


def _both(a: Outage, b: Outage, combine: Callable[[Sequence[int]], int]) -> Outage:
    """Merge two that overlap; `a` began first."""
    until_ms = None if a.until_ms is None or b.until_ms is None else max(a.until_ms, b.until_ms)
    lost = b.lost if a.lost is None else a.lost if b.lost is None else combine([a.lost, b.lost])
    return Outage(
        a.since_ms,
        until_ms,
        lost,
        combine([a.turned_away, b.turned_away]),
        a.is_seen_late,
        a.is_partial and b.is_partial,
    )
