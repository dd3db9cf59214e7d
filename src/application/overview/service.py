"""What the service of a page says of itself: what its metrics count, over all its workers."""

from application.overview.words import Answer, Tone, calls, duration, frames
from application.ports.exposition import ServiceState

LOSING_SECONDS = 10.0
"""Frames that were lost so lately are being lost."""

WAITS_SECONDS = 1.0
"""Audio that is not confirmed for so long waits; before that it is on its way."""

KIB = 1_024


class ServiceWatch:
    """Remembers when the count of lost frames grew."""

    def __init__(self) -> None:
        self._lost: int | None = None
        self._lost_at: float | None = None

    def answer(self, it: ServiceState, now: float) -> Answer:
        """Say how the service stands at a monotonic instant."""
        if self._lost is not None and it.lost > self._lost:
            self._lost_at = now
        self._lost = it.lost
        is_losing = self._lost_at is not None and now - self._lost_at < LOSING_SECONDS
        text = f"{calls(it.calls)} open"
        if it.oldest_seconds >= WAITS_SECONDS:
            waits = f"{it.buffered_bytes / KIB:,.0f} kB of audio wait"
            text += f", {waits} (the oldest for {duration(it.oldest_seconds)})"
        if it.lost:
            when = "since it started"
            if self._lost_at is not None:
                when = f"the last {duration(now - self._lost_at)} ago"
            text += f", {frames(it.lost)} received and lost, {when}"
        if not it.takes_writes:
            text = f"the broker takes no writes; {text}"
        if is_losing or not it.takes_writes:
            return Answer(Tone.BAD, text)
        return Answer(Tone.PAST if it.lost else Tone.GOOD, text)
