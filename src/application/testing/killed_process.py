"""Appends by processes that are killed before any line of the adapter's code.

A process that has loaded the adapter forks for each append. The fork connects, appends, counts the
executed lines of the adapter in all threads, and kills itself before a given line. So every point
between two statements is tested, not only those that take long.
"""

import os
from collections.abc import Sequence

import pytest

from application.ports.store import Append
from application.testing.child_process import FORK, packed
from application.testing.other_process import read_answer, start_child
from application.testing.trial import Trial


async def append_and_be_killed(trial: Trial, appends: Sequence[Append]) -> int:
    """Make each append in a process that is killed before a different line of the adapter.

    The first append is complete, to learn the lines. Each line has its turn, at its first and at
    its last execution, as long as there are appends. Returns how many appends were made.
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
