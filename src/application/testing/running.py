"""Runs contract tests in a separate loop, each within a time limit.

The loop runs in another thread than pytest, so that a test ends in time even if the store waits for
ever, blocks the loop, or keeps a thread. If a test cannot be ended, its conditions are undone from
another loop. Anything that is still stuck is abandoned, and delays neither the next test nor the
exit of the process.
"""

import asyncio
import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, ParamSpec, TypeVar

import pytest

from application.testing.trial import Trial

RELEASE_SECONDS = 10.0
"""How long a test that is over its limit may take to release what it holds."""

CLOSE_SECONDS = 20.0
"""How long the destinations of a test may take to close."""

THREADS = 8
"""The number of threads for blocking calls: about that of asyncio on a small machine."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Job = Callable[[], None]


class Overrun(BaseException):
    """A test exceeded its time. It is not an `Exception`, so that no property retries it."""


class Contract:
    """Base class of the contracts: their tests are coroutines, and need no plug-in."""

    @pytest.fixture
    def trial(self) -> Trial | Iterator[Trial]:
        """Return the trial of the adapter. To be implemented."""
        raise NotImplementedError("a contract needs a fixture `trial`")

    def __init_subclass__(cls, **more: Any) -> None:
        """Convert each test coroutine to a plain function."""
        super().__init_subclass__(**more)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                setattr(cls, name, _as_plain_function(test))


def _as_plain_function(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(self: Contract, trial: Trial, **fixtures: Any) -> None:
        with running(trial) as run_in_loop:
            run_in_loop(test(self, trial, **fixtures))

    return run


@contextmanager
def running(trial: Trial) -> Iterator[Callable[[Coroutine[Any, Any, _T]], _T]]:
    """Yield a function that runs coroutines sequentially in one loop; finally close the trial.

    Raises:
        Overrun: they take longer than `trial.limit_seconds` in all; the message names the test.

    """
    loop = _Loop(trial)
    until = monotonic() + trial.limit_seconds
    try:
        yield lambda it: loop.run(it, until - monotonic(), f"after {trial.limit_seconds:g} s")
    finally:
        loop.close()


class _Loop:
    """An event loop in a separate thread."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_DaemonThreads())
        self._is_stuck = False
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _T], seconds: float, when: str) -> _T:
        """Run a coroutine to its end, from another thread."""
        tasks: list[asyncio.Task[_T]] = []
        is_over = Event()

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda _: is_over.set())

        self._loop.call_soon_threadsafe(begin)
        if is_over.wait(max(0.0, seconds)):
            return tasks[0].result()
        promise, place = _promise(), _place(tasks)
        if tasks:
            self._loop.call_soon_threadsafe(tasks[0].cancel)
        if not is_over.wait(RELEASE_SECONDS) and self._trial.to_take_back:
            _take_back(self._trial)
            is_over.wait(RELEASE_SECONDS)
        self._is_stuck = not is_over.is_set()
        Thread(target=_end_the_process_that_waits, daemon=True).start()
        rest = "; it cannot be cancelled, what it holds is not released" if self._is_stuck else ""
        raise Overrun(f"{promise}: not over {when}, waiting {place}{rest}")

    def close(self) -> None:
        """Close the trial, cancel remaining tasks, end the thread; abandon it if it is stuck."""
        if self._is_stuck:
            return
        try:
            self.run(self._trial.close(), CLOSE_SECONDS, f"{CLOSE_SECONDS:g} s after it was closed")
        finally:
            with suppress(Overrun):
                self.run(_cancel_others(), RELEASE_SECONDS, "in the end")
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(RELEASE_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()


class _DaemonThreads(ThreadPoolExecutor):
    """Threads that may be stuck for ever: the exit of the process does not wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> "Future[_T]":
        """Have a thread call it."""
        future: Future[_T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001  # whatever it is, the caller gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)

        self._jobs.put(job)
        if self._started < THREADS:
            self._started += 1
            Thread(target=_do_jobs, args=(self._jobs,), daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # as inherited
        """End the threads, once they are not stuck."""
        for _ in range(self._started):
            self._jobs.put(None)


def _do_jobs(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        job()


def _take_back(trial: Trial) -> None:
    """Undo the conditions of a test, from a loop that is not blocked."""

    async def take_back() -> None:
        while trial.to_take_back:
            with suppress(Exception):
                await trial.to_take_back.pop()()

    thread = Thread(target=lambda: asyncio.run(take_back()), daemon=True)
    thread.start()
    thread.join(RELEASE_SECONDS)


def _end_the_process_that_waits() -> None:
    """Exit this process when only a stuck thread of the store is left."""
    while not _is_ending():
        sleep(0.5)
    sleep(RELEASE_SECONDS)
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)


def _is_ending() -> bool:
    """Return whether the main thread only waits for the others."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  # documented
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "threading"


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _promise() -> str:
    """Return the name of the current test, which begins with its promise."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "the test")
    return test.rsplit("::", 1)[-1].split(" ", 1)[0]


def _place(tasks: list[asyncio.Task[_T]]) -> str:
    """Return the line at which a test waits."""
    stack = tasks[0].get_stack() if tasks else []
    if not stack:
        return "for the loop, which is blocked"
    frame = stack[-1]
    return f"in {os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"  # noqa: PTH119
