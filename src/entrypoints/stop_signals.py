"""SIGTERM and SIGINT: the first starts a drain, a repetition makes the process exit at once.

One request to stop often arrives as several signals. systemd and Heroku signal every process of a
service while the parent of the workers passes its own signal on; a terminal and a wrapper both
deliver one Ctrl-C. These arrive within milliseconds of each other and are one drain. A repetition
therefore counts only if it arrives `REPEATED_SECONDS` after the first signal, whichever that was.
"""

import atexit
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

REPEATED_SECONDS = {signal.SIGTERM: 2.0, signal.SIGINT: 0.2}
"""How long after the first signal each of them counts as a repetition. A person presses Ctrl-C
twice within two seconds and means it."""

AT_ONCE = signal.SIGQUIT
"""The parent sends this to workers to report a repetition, which only the parent counts."""


INTERRUPTED = 128 + signal.SIGINT
"""The exit status that a shell takes for Ctrl-C."""


class EarlyStop:
    """Ends a process at a stop signal, until its server handles these signals.

    It raises SystemExit in the handler. KeyboardInterrupt is not suitable: if it is raised while an
    import defines a dataclass, Python ends by the signal, although the exception is caught.
    """

    def __init__(self) -> None:
        self._status: int | None = None

    def listen(self) -> None:
        """End at the first signal; one that is ignored stays so."""
        signal.signal(signal.SIGTERM, self._on_signal)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Exit now if a signal has arrived, since its exception may have been swallowed."""
        if self._status is not None:
            sys.exit(self._status)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        ignore_stop_signals()
        self._status = INTERRUPTED if number == signal.SIGINT else 0
        sys.exit(self._status)


class StopSignals:
    """Counts the stop signals of one process: `numbers` are those that it handles."""

    def __init__(
        self,
        numbers: tuple[signal.Signals, ...] = STOP_SIGNALS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._numbers = numbers
        self._clock = clock
        self._first_at: float | None = None
        self.first: int | None = None
        self.is_repeated = False
        self.on_first: Callable[[], None] | None = None
        """Called at the first signal, in its handler."""

    def note(self, number: int) -> None:
        """Take a signal."""
        now = self._clock()
        if number == AT_ONCE:
            self.is_repeated = True
        elif self._first_at is not None:
            waited = now - self._first_at
            self.is_repeated |= waited >= REPEATED_SECONDS[signal.Signals(number)]
        if self._first_at is None:
            self._first_at, self.first = now, number
            if self.on_first is not None:
                self.on_first()

    @property
    def is_interrupt(self) -> bool:
        """Whether Ctrl-C was the first."""
        return self.first == signal.SIGINT

    def listen(self, on_signal: Callable[[int, FrameType | None], None]) -> None:
        """Call `on_signal` for each signal, also for those that were `held_back` until now.

        The handlers stay for the life of the process: a repetition that arrives when the drain is
        over must not change the exit status.
        """
        for number in self._numbers:
            signal.signal(number, on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        atexit.register(ignore_stop_signals)


def ignore_stop_signals() -> None:
    """Let no further stop signal end a process that is about to exit.

    The interpreter resets handlers before it exits, but leaves ignored signals ignored.
    """
    for number in (*STOP_SIGNALS, AT_ONCE):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Block these signals in processes started in this context, until they handle them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
