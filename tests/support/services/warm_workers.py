"""Workers of `serve --workers N` that are forked by their parent, which has imported all they need.

What is forked gets what `entrypoints.workers` gives to a new Python: the descriptors and arguments,
the environment, a session of its own, blocked signals. It takes over nothing else of its parent: no
handler of signals or of log lines, no descriptor, nothing to do at the exit.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import entrypoints.cli.serve
from entrypoints import worker
from entrypoints.stop_signals import held_back
from entrypoints.workers import HELD_BACK, Workers, _Worker

FAILED = 1
"""The exit status of a Python that nothing has caught."""


class ForkedWorker:
    """As the `subprocess.Popen` of a worker; its parent alone uses it."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], pass_fds: Sequence[int]
    ) -> None:
        self.returncode: int | None = None
        with held_back(*HELD_BACK):
            self.pid = os.fork()
            if not self.pid:
                _be_worker(list(arguments), environment, pass_fds)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmWorkers(Workers):
    """Forks where the service starts a Python."""

    def _spawn(self, worker: _Worker) -> Any:
        listening = [bound.fileno() for bound in worker.sockets]
        inherited = (self._board.fd, self._alive, self._tell_to_stop)
        arguments = [",".join(map(str, listening)), *map(str, (*inherited, worker.number))]
        return ForkedWorker(arguments, dict(self._environment), (*listening, *inherited))


def use_warm_workers() -> None:
    """Have `serve` of this process and those forked from it fork its workers."""
    entrypoints.cli.serve.Workers = WarmWorkers  # type: ignore[attr-defined]


def _be_worker(
    arguments: list[str], environment: dict[str, str], pass_fds: Sequence[int]
) -> NoReturn:
    """Be the worker, as far as can be seen from outside; this never returns."""
    status = FAILED
    try:
        _forget_the_parent(pass_fds)
        os.environ.clear()
        os.environ.update(environment)
        status = worker.main(arguments)
    except SystemExit as exited:
        status = exited.code if isinstance(exited.code, int) else FAILED
    except BaseException:  # noqa: BLE001  # as Python does
        traceback.print_exc()
    finally:  # as Python does: what is on the stack is the parent's, and is not unwound
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forget_the_parent(pass_fds: Sequence[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()
    atexit.register(logging.shutdown)
    logging.captureWarnings(capture=False)
    logging.root.handlers.clear()
    logging._handlers.clear()  # type: ignore[attr-defined]
    logging._handlerList.clear()  # type: ignore[attr-defined]
    below = 3
    for kept in sorted(pass_fds):
        os.closerange(below, kept)
        below = kept + 1
    os.closerange(below, os.sysconf("SC_OPEN_MAX"))
