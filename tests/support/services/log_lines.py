"""The log of a service process, as the lines it has written."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

Line = dict[str, Any]

REFUSED = ("handshake refused", "request refused")
CLOSED = ("connection closed",)


def lines_of(log: Path, events: Sequence[str] = ()) -> list[Line]:
    """Return the whole lines, those of `events` if any are named."""
    whole = log.read_text().rpartition("\n")[0]
    lines: list[Line] = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [line for line in lines if not events or line["event"] in events]


def complaints_of(log: Path) -> list[Line]:
    """Return the warnings and worse."""
    return [line for line in lines_of(log) if line["level"] in ("warning", "error", "critical")]


def total(lines: Sequence[Line]) -> int:
    """Return how many the lines stand for."""
    return sum(line["count"] for line in lines)


def seconds_between(lines: Sequence[Line]) -> list[float]:
    """Return how long after the one before each line was written."""
    written = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    pairs = pairwise(written)
    return [(later - earlier).total_seconds() for earlier, later in pairs]
