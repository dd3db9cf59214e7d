"""Texts of the views: a text with a tone, counts, and ages.

Both views show these texts as they are, so that one fact reads the same in both.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

MAX_NAMES = 5
MINUTE, HOUR = 60, 3_600
SECONDS_UNTIL = 2 * MINUTE
MINUTES_UNTIL = 2 * HOUR
TENTHS_UNTIL = 10
KIB, MIB = 1_024, 1_048_576


class Tone(StrEnum):
    """The tone of an answer."""

    GOOD = "good"
    BAD = "bad"
    PAST = "past"
    """It was bad, but is over."""
    UNKNOWN = "unknown"
    """The state is unknown, or the figures are old."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in words; a view adds the time of day of `at_ms` in its time zone."""

    tone: Tone
    text: str
    at_ms: int | None = None


def number_of(count: int, what: str) -> str:
    """Say how many; `what` is the singular of a regular noun."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def calls(count: int, kind: str = "") -> str:
    """Say how many calls, of a kind if one is named."""
    return number_of(count, f"{kind}call")


def frames(count: int) -> str:
    """Say how many frames."""
    return number_of(count, "frame")


def are(count: int) -> str:
    """Return the verb of so many."""
    return "is" if count == 1 else "are"


def duration(seconds: float) -> str:
    """Say how long, in the unit that fits."""
    if seconds < SECONDS_UNTIL:
        return f"{seconds:.0f} s"
    if seconds < MINUTES_UNTIL:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h"


def age(seconds: float) -> str:
    """Say how old something is: a fresh age to the tenth of a second."""
    fresh = f"{seconds:.1f}"
    return f"{fresh} s" if float(fresh) < TENTHS_UNTIL else duration(seconds)


def length(seconds: float) -> str:
    """Write the length of audio as a player does."""
    whole = int(seconds)
    minutes = f"{whole // MINUTE % MINUTE}"
    if whole >= HOUR:
        minutes = f"{whole // HOUR}:{minutes:0>2}"
    return f"{minutes}:{whole % MINUTE:02}"


def size(count: int) -> str:
    """Say how many bytes."""
    if count < MIB:
        return f"{count / KIB:,.1f} kB"
    return f"{count / MIB:,.1f} MB"


def ago(at: float, now: float) -> str:
    """Say how long ago an instant was, both in monotonic seconds."""
    return f"{duration(max(0.0, now - at))} ago"


def last(at: float | None, now: float) -> str:
    """Say when the last of several was, in monotonic seconds; None is before the view."""
    if at is None:
        return "before this view was opened"
    return f"the last {ago(at, now)}"


def counts(counted: Counter[str]) -> str:
    """List the most frequent names, each with its count."""
    names = [f"{name} {count:,}" for name, count in counted.most_common(MAX_NAMES)]
    more = len(counted) - len(names)
    return ", ".join([*names, f"{more:,} more"] if more > 0 else names)
