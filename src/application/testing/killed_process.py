"""Appends by processes that are killed before any line of the adapter's code.

A process that has loaded the adapter forks for each append. The fork connects, appends, counts the
lines of the adapter that are run, in all threads, and kills itself before the one that it was told.
So what stands between two statements is tried, not only what happens to take long.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import pytest

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.store import Append, Appended
from application.testing.other_process import (
    answers_of_this_process,
    packed,
    read_answer,
    read_call,
    start_python,
)
from application.testing.trial import Trial

FORK_SECONDS = 10
"""How long one append may take; then its process is killed, wherever it is."""

_PROGRAM = "from application.testing.killed_process import main; main()"
_NOT_OF_ADAPTERS = {"application", "domain", "__main__"} | set(sys.stdlib_module_names)


async def append_and_be_killed(trial: Trial, appends: Sequence[Append]) -> int:
    """Have each append made by a process that is killed before another line of the adapter.

    The first is made whole, to learn the lines. Returns how many of the appends were made: each
    line has its turn, the first and the last time that it is run, as long as there are appends.
    """
    if not (trial.adapter.is_shared and hasattr(os, "fork")):
        pytest.skip(f"{trial.adapter.name} is not shared by processes that can be forked")
    process = await start_python(_PROGRAM)
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


def main() -> None:
    """Fork for each call until standard input ends. There are no threads here."""
    answers = answers_of_this_process()
    adapter, options, environment = read_call(sys.stdin.buffer)
    while (call := read_call(sys.stdin.buffer)) is not None:
        back, out = os.pipe()
        fork = os.fork()
        if not fork:
            os.close(back)
            _be_fork(out, adapter, options, environment, *call)
        os.close(out)
        with os.fdopen(back, "rb") as told:
            body = told.read()
        os.waitpid(fork, 0)
        answers.write(body or packed(None))
        answers.flush()


def _be_fork(
    out: int,
    adapter: StoreAdapter,
    options: DestinationOptions,
    environment: Mapping[str, str],
    append: Append,
    line: int,
) -> None:
    """Append, tell the lines and end, all without a return."""
    signal.alarm(FORK_SECONDS)
    try:
        destination = adapter.connect(options, environment)
        lines = asyncio.run(_append(destination, append, line))
        with os.fdopen(out, "wb") as told:
            told.write(packed(lines))
    finally:
        os._exit(0)


async def _append(destination: Destination, append: Append, line: int) -> list[int]:
    lines = _Lines(destination, line)
    threading.settrace(lines.trace)
    sys.settrace(lines.trace)
    await destination.store.heads([append.stream])
    lines.is_counting = True
    outcomes = await destination.store.append([append])
    lines.is_counting = False
    if not line and list(outcomes) != [Appended()]:
        return []
    return lines.chosen()


class _Lines:
    """Counts the lines that are run of the packages that a destination is made of."""

    def __init__(self, destination: Destination, kill_before: int) -> None:
        parts: tuple[object, ...] = (
            destination, destination.store, destination.reader, destination.open_runs
        )  # fmt: skip
        modules = {base.__module__ for part in parts for base in type(part).__mro__}
        self._packages = {module.partition(".")[0] for module in modules} - _NOT_OF_ADAPTERS
        self._kill_before = kill_before
        self._run: list[tuple[str, int]] = []
        self.is_counting = False

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """See `sys.settrace`."""
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in self._packages:
            return None
        if event == "line" and self.is_counting:
            self._run.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self._run) == self._kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace

    def chosen(self) -> list[int]:
        """Return when each line was run for the first and for the last time, counted from 1."""
        first: dict[tuple[str, int], int] = {}
        last: dict[tuple[str, int], int] = {}
        for number, line in enumerate(self._run, 1):
            first.setdefault(line, number)
            last[line] = number
        return sorted({*first.values(), *last.values()})
