"""How far a stream was read: kept at the broker, so that the next owner continues there."""

import json
from typing import NamedTuple, Self

MAX_RUNS = 8
"""Runs of one stream that are remembered, the latest."""


class Progress(NamedTuple):
    """How far one run was read: to its frame `seq`, and so many `signals` behind that."""

    run: str = ""
    generation: int = -1
    seq: int = -1
    signals: int = 0
    ended: bool = False


class Position(NamedTuple):
    """Behind which entry, known by id and checksum, and how far in each run, the latest last.

    `number` grows with each position of one owner.
    """

    entry: str = ""
    checksum: int = 0
    runs: tuple[Progress, ...] = ()
    number: int = 0

    def of(self, run: str) -> Progress:
        """Return how far a run was read; generation -1 if nothing of it was."""
        return next((it for it in self.runs if it.run == run), Progress(run))

    def behind(self, entry: str, checksum: int, progress: Progress) -> Self:
        """Return the next position."""
        others = [it for it in self.runs if it.run != progress.run][1 - MAX_RUNS :]
        return type(self)(entry, checksum, (*others, progress), self.number + 1)

    def has_read(self, run: str, generation: int = 0, newest: int = -1) -> bool:
        """Tell whether a run is over, and was read to its end.

        Also one of a `generation` before all that are remembered; but not where the `newest` of the
        stream is less than those: there a broker was emptied, and generations start at 1 once more.
        """
        known = sorted(it.generation for it in self.runs)
        is_earlier = len(known) == MAX_RUNS and generation < known[0] <= known[-1] <= newest
        return is_earlier or self.of(run).ended or any(it.run == run for it in self.runs[:-1])

    def dumps(self) -> str:
        """Write it as JSON."""
        return json.dumps(self[:3])

    @classmethod
    def loads(cls, text: str | bytes) -> Self:
        """Read what `dumps` wrote; nothing is before all entries."""
        entry, checksum, runs = json.loads(text or '["", 0, []]')
        return cls(entry, checksum, tuple(Progress(*run) for run in runs))
