"""The position of a group in a stream, stored at the broker, where the next owner continues."""

import json
from typing import NamedTuple, Self

MAX_RUNS = 8
"""The number of latest runs of a stream that are remembered."""


class Progress(NamedTuple):
    """The position in one run: frame `seq`, and the number of `signals` after it."""

    run: str = ""
    generation: int = -1
    seq: int = -1
    signals: int = 0
    ended: bool = False


class Position(NamedTuple):
    """The last read entry, by id and checksum, and the position in each run, the latest last.

    `number` grows with each position of one owner.
    """

    entry: str = ""
    checksum: int = 0
    runs: tuple[Progress, ...] = ()
    number: int = 0

    def of(self, run: str) -> Progress:
        """Return the position in a run; generation -1 if nothing of it was read."""
        return next((it for it in self.runs if it.run == run), Progress(run))

    def behind(self, entry: str, checksum: int, progress: Progress) -> Self:
        """Return the next position."""
        others = [it for it in self.runs if it.run != progress.run][1 - MAX_RUNS :]
        return type(self)(entry, checksum, (*others, progress), self.number + 1)

    def has_read(self, run: str, generation: int = 0, newest: int = -1) -> bool:
        """Return whether a run was read to its end.

        This is also true for a `generation` before all remembered ones, unless the `newest` of the
        stream is below those: then the broker was emptied, and generations have started at 1 again.
        """
        known = sorted(it.generation for it in self.runs)
        is_earlier = len(known) == MAX_RUNS and generation < known[0] <= known[-1] <= newest
        return is_earlier or self.of(run).ended or any(it.run == run for it in self.runs[:-1])

    def dumps(self) -> str:
        """Write it as JSON."""
        return json.dumps(self[:3])

    @classmethod
    def loads(cls, text: str | bytes) -> Self:
        """Read what `dumps` wrote; an empty text is the position before all entries."""
        entry, checksum, runs = json.loads(text or '["", 0, []]')
        return cls(entry, checksum, tuple(Progress(*run) for run in runs))
