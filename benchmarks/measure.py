"""What processes cost, and figures made of many."""

import os
import statistics
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PARENT, _CPU = 1, slice(11, 15)
"""Fields of /proc/PID/stat, counted from the one after the name in parentheses."""

_IDLE = slice(3, 5)
"""Of a line of /proc/stat, after its name: the time a core did nothing, or waited for a disk."""

_GUEST = 8
"""From here on what is counted before is counted again."""

_KIB_PER_MB = 1_024
HAS_PROC = (_PROC / "self" / "stat").exists()
"""Whether processes can be measured; where not, their figures are absent."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a sample of `count` values, in the unit it was made in."""

    p50: float
    p99: float
    p999: float
    most: float
    count: int


@dataclass(frozen=True, slots=True)
class Span:
    """Median, least and most of the rounds."""

    median: float
    least: float
    most: float


def percentiles(values: Iterable[int], unit: int) -> Percentiles:
    """Return percentiles by nearest rank, in multiples of `unit`; zeros for an empty sample."""
    ordered = sorted(values)
    if not ordered:
        return Percentiles(0.0, 0.0, 0.0, 0.0, 0)

    def at(share: float) -> float:
        return ordered[max(0, ceil(share * len(ordered)) - 1)] / unit

    return Percentiles(at(0.5), at(0.99), at(0.999), ordered[-1] / unit, len(ordered))


def span(values: Sequence[float]) -> Span:
    """Return the span of one value a round."""
    return Span(statistics.median(values), min(values), max(values))


def cpu_seconds(pid: int) -> float | None:
    """Return user and system time of a process, its descendants and those that have ended.

    The kernel tells it in ticks, mostly of 10 ms. None where there is no /proc.
    """
    if not HAS_PROC:
        return None
    ticks = 0
    for member in _tree(pid):
        fields = _stat(member)
        if fields is not None:
            ticks += sum(int(field) for field in fields[_CPU])
    return ticks / _TICKS_PER_SECOND


def busy_seconds(cores: AbstractSet[int]) -> float | None:
    """Return how long these cores were not idle, for any process, taken away by a host included.

    No cores means all of them. None where there is no /proc/stat.
    """
    try:
        lines = (_PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    ticks = 0
    for name, *fields in (line.split() for line in lines):
        if name in names:
            times = [int(field) for field in fields[:_GUEST]]
            ticks += sum(times) - sum(times[_IDLE])
    return ticks / _TICKS_PER_SECOND


def resident_mb(pid: int, *, peak: bool = False) -> float | None:
    """Return the resident memory of a process and its descendants in MiB, now or at its highest."""
    if not HAS_PROC:
        return None
    name = "VmHWM:" if peak else "VmRSS:"
    kib = 0
    for member in _tree(pid):
        try:
            status = (_PROC / str(member) / "status").read_text()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))
    return kib / _KIB_PER_MB


def _tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    tree = [pid]
    for member in tree:
        tree += children.get(member, [])
    return tree


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the process's name; None if it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
