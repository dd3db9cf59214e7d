"""The program of the contract tests' other processes, in a new Python with the same path.

It runs as a file, not as a module of this package, and imports nothing from it: each of the many
processes would load pytest and Hypothesis. Calls and answers are pickles, each preceded by its
length, over standard input and output.
"""

import asyncio
import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, BinaryIO

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.store import Append, Appended

LENGTH = struct.Struct(">I")

SERVE, FORK = "serve", "fork"
"""The task of such a process: serve a destination, or fork for each append."""

FORK_SECONDS = 10
"""How long one append may take before its process is killed."""

_NOT_OF_ADAPTERS = {"application", "domain", "__main__"} | set(sys.stdlib_module_names)


def serve() -> None:
    """Serve calls until standard input ends."""
    asyncio.run(_serve(sys.stdin.buffer, _answers_of_this_process()))


async def _serve(calls: BinaryIO, answers: BinaryIO) -> None:
    served: dict[str, Destination] = {}
    tasks: set[asyncio.Task[None]] = set()
    while (call := await asyncio.to_thread(_read_call, calls)) is not None:
        number, name, arguments = call
        task = asyncio.create_task(_answer(served, answers, number, name, arguments))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    if served:
        await served["it"].close()


async def _answer(
    served: dict[str, Destination],
    answers: BinaryIO,
    number: int,
    name: str,
    arguments: Sequence[Any],
) -> None:
    answer: tuple[int, Any, Exception | None, str | None]
    try:
        answer = (number, await _called(served, name, arguments), None, None)
    except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets it
        cause = None if error.__cause__ is None else repr(error.__cause__)
        answer = (number, None, error, cause)
    answers.write(packed(answer))
    answers.flush()


async def _called(served: dict[str, Destination], name: str, arguments: Sequence[Any]) -> Any:
    if name == "connect":
        adapter, options, environment = arguments
        served["it"] = adapter.connect(options, environment)
        return None
    it = served["it"]
    if name == "read":
        return [entry async for entry in it.reader.read(*arguments)]
    if name == "epochs":
        return {stream: it.store.epoch_of(stream) for stream in arguments[0]}
    for port in (it.store, it.reader, it.open_runs, it):
        if hasattr(port, name):
            return await getattr(port, name)(*arguments)
    raise AttributeError(name)


def _answers_of_this_process() -> BinaryIO:
    """Reserve standard output for answers: printed text does not mix with them."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _read_call(calls: BinaryIO) -> Any:
    """Return the next call of the parent; None at the end."""
    head = calls.read(LENGTH.size)
    return pickle.loads(calls.read(LENGTH.unpack(head)[0])) if head else None  # noqa: S301  # of our own parent


def packed(value: object) -> bytes:
    """Pack an object for a pipe."""
    try:
        body = pickle.dumps(value)
    except Exception as error:
        raise RuntimeError(f"a call or answer cannot be pickled: {value!r:.200}") from error
    return LENGTH.pack(len(body)) + body


def fork() -> None:
    """Fork for each call until standard input ends. There are no threads here."""
    answers = _answers_of_this_process()
    adapter, options, environment = _read_call(sys.stdin.buffer)
    while (call := _read_call(sys.stdin.buffer)) is not None:
        back, out = os.pipe()
        child = os.fork()
        if not child:
            os.close(back)
            _be_fork(out, adapter, options, environment, *call)
        os.close(out)
        with os.fdopen(back, "rb") as told:
            body = told.read()
        os.waitpid(child, 0)
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
    """Append, report the lines and exit; this never returns."""
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
    threading.settrace(lines.trace)  # of threads that begin with the first connection
    await destination.store.heads([append.stream])
    sys.settrace(lines.trace)  # not sooner: traced, a client takes long to get to know a cluster
    lines.is_counting = True
    outcomes = await destination.store.append([append])
    lines.is_counting = False
    if not line and list(outcomes) != [Appended()]:
        return []
    return lines.chosen()


class _Lines:
    """Counts the executed lines of a destination's packages."""

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
        """Return the step numbers, from 1, of the first and the last execution of each line."""
        first: dict[tuple[str, int], int] = {}
        last: dict[tuple[str, int], int] = {}
        for number, line in enumerate(self._run, 1):
            first.setdefault(line, number)
            last[line] = number
        return sorted({*first.values(), *last.values()})


if __name__ == "__main__":
    {SERVE: serve, FORK: fork}[sys.argv[1]]()
