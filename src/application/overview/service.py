"""The state of a page's own service, from the metrics of all its workers."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from application.overview.door import refusals
from application.overview.outages import Outage, current, united
from application.overview.words import KIB, Answer, Tone, ago, calls, duration, frames
from application.ports.clock import Instant
from application.ports.exposition import BrokerOutage, ServiceState

LOSING_SECONDS = 10.0
"""Frames count as being lost for this long after a loss."""

WAITS_SECONDS = 1.0
"""Audio that is unconfirmed for this long counts as waiting."""

RATE_SECONDS = 4.0
MIN_RATE_SECONDS = 1.0
"""The window for frames a second, and the shortest time that gives a rate."""

MIN_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """The state of a service: its card, its incoming audio, and its trouble.

    It has recorded outages of its broker since `watches_since_ms`.
    """

    card: Answer
    arriving: Answer
    refusals: Answer | None
    takes_writes: bool
    outages: Sequence[Outage]
    watches_since_ms: int

    @property
    def away(self) -> Outage | None:
        """The current outage of its broker."""
        return current(self.outages)


class ServiceWatch:
    """Remembers when the count of lost frames grew, and the recent rate of frames.

    It is asked only while a page is open: the time of earlier growth is unknown.
    """

    def __init__(self) -> None:
        self._lost: int | None = None
        self._lost_at: float | None = None
        self._told_at: float | None = None
        self._received: deque[tuple[float, int]] = deque()

    def report(self, it: ServiceState, now: Instant) -> ServiceReport:
        """Describe the state of the service."""
        outages = united((_outage(each) for each in it.outages), sum)
        return ServiceReport(
            self._card(it, now.monotonic),
            self._arriving(it, now.monotonic),
            refusals(it, now),
            it.takes_writes,
            outages,
            it.watches_since_ms,
        )

    def _card(self, it: ServiceState, now: float) -> Answer:
        if self._lost is not None and it.lost > self._lost:
            was_watched = self._told_at is not None and now - self._told_at < LOSING_SECONDS
            self._lost_at = now if was_watched else None
        self._lost, self._told_at = it.lost, now
        is_losing = self._lost_at is not None and now - self._lost_at < LOSING_SECONDS
        text = f"{calls(it.calls)} open"
        if it.oldest_seconds >= WAITS_SECONDS:
            waiting = f"{it.buffered_bytes / KIB:,.0f} kB of audio waiting"
            text += f", {waiting} (the oldest for {duration(it.oldest_seconds)})"
        if it.lost:
            when = "since it started"
            if self._lost_at is not None:
                when = f"the last {ago(self._lost_at, now)}"
            text += f", {frames(it.lost)} received and lost, {when}"
        if it.is_draining:
            text = f"it stops, and takes no new calls; {text}"
        if not it.takes_writes:
            text = f"the broker takes no writes; {text}"
        if is_losing or not it.takes_writes:
            return Answer(Tone.BAD, text)
        return Answer(Tone.PAST if it.lost or it.is_draining else Tone.GOOD, text)

    def _arriving(self, it: ServiceState, now: float) -> Answer:
        """Describe the audio that the service receives."""
        rate = self._rate(it.received, now)
        if it.calls == 0:
            return Answer(Tone.GOOD, "this service has no open calls")
        where = f"in {calls(it.calls, 'open ')}"
        if rate is None:
            return Answer(Tone.UNKNOWN, f"this service receives - frames/s {where}")
        if rate > 0:
            return Answer(Tone.GOOD, f"this service receives {rate:,.0f} frames/s {where}")
        why = ": none comes, or its buffers are full" if it.oldest_seconds >= WAITS_SECONDS else ""
        return Answer(Tone.BAD, f"this service receives no audio {where}{why}")

    def _rate(self, received: int, now: float) -> float | None:
        """Return the recent frames a second; None if the window is too short."""
        samples = self._received
        while samples and now - samples[0][0] > RATE_SECONDS:
            samples.popleft()
        if not samples or now - samples[-1][0] >= MIN_SAMPLE_SECONDS:
            samples.append((now, received))
        began, before = samples[0]
        passed = now - began
        return None if passed < MIN_RATE_SECONDS else max(0, received - before) / passed


def _outage(it: BrokerOutage) -> Outage:
    return Outage(it.since_ms, it.until_ms, it.lost, it.turned_away, is_partial=it.is_partial)


def all_outages(seen: Iterable[Outage], service: ServiceReport | None) -> Sequence[Outage]:
    """Return the outages that a view has seen, and those that its service has noted."""
    noted = () if service is None else service.outages
    return united([*seen, *noted], max)
