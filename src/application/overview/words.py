"""How the views say things: a text with a tone, counts, and how long ago."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

MAX_NAMES = 5
MINUTE, HOUR = 60, 3_600
SECONDS_UNTIL = 2 * MINUTE
MINUTES_UNTIL = 2 * HOUR


class Tone(StrEnum):
    """How an answer is meant."""

    GOOD = "good"
    BAD = "bad"
    PAST = "past"
    """It was bad, and is over."""
    UNKNOWN = "unknown"
    """Nothing is known, or the figures are old."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in words."""

    tone: Tone
    text: str


def calls(count: int, kind: str = "") -> str:
    """Say how many calls, of a kind if one is named."""
    return f"{count:,} {kind}call" + ("" if count == 1 else "s")


def frames(count: int) -> str:
    """Say how many frames."""
    return f"{count:,} frame" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Say how long, in the unit that fits."""
    if seconds < SECONDS_UNTIL:
        return f"{seconds:.0f} s"
    if seconds < MINUTES_UNTIL:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h"


def last(at: float | None, now: float) -> str:
    """Say when the last of several was, in monotonic seconds; None is before the view."""
    if at is None:
        return "before this view was opened"
    return f"the last {duration(max(0.0, now - at))} ago"


def counts(counted: Counter[str]) -> str:
    """Say the names that are most, each with its count."""
    names = [f"{name} {count:,}" for name, count in counted.most_common(MAX_NAMES)]
    more = len(counted) - len(names)
    return ", ".join([*names, f"{more:,} more"] if more > 0 else names)
