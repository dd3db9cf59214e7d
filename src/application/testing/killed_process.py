"""Appends by processes that are killed before any line of the adapter's code.

A process that has loaded the adapter forks for each append. The fork connects, appends, counts the
lines of the adapter that are run, in all threads, and kills itself before the one that it was told.
So what stands between two statements is tried, not only what happens to take long.
"""

import os
from collections.abc import Sequence

import pytest

from application.ports.store import Append
from application.testing.child_process import FORK, packed
from application.testing.other_process import read_answer, start_child
from application.testing.trial import Trial


async def append_and_be_killed(trial: Trial, appends: Sequence[Append]) -> int:
    """Have each append made by a process that is killed before another line of the adapter.

    The first is made whole, to learn the lines. Returns how many of the appends were made: each
    line has its turn, the first and the last time that it is run, as long as there are appends.
    """
    if not (trial.adapter.is_shared and hasattr(os, "fork")):
        pytest.skip(f"{trial.adapter.name} is not shared by processes that can be forked")
    process = await start_child(FORK)
    if process.stdin is None:
        raise AssertionError("the process has no pipe")
    try:
        process.stdin.write(packed((trial.adapter, trial.options, dict(trial.environment))))
        process.stdin.write(packed((appends[0], 0)))
        lines = await read_answer(process)
        assert lines, "an append runs no line of the adapter's own modules"
        share = max(1.0, len(lines) / (len(appends) - 1))
        chosen = [lines[int(n * share)] for n in range(min(len(lines), len(appends) - 1))]
        for append, line in zip(appends[1:], chosen, strict=False):
            process.stdin.write(packed((append, line)))
            await read_answer(process)
    finally:
        process.kill()
        await process.wait()
    return 1 + len(chosen)
