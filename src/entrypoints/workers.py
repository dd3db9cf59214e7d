"""`serve --workers N`: the parent of several processes that serve one port.

Each worker has its own listening sockets on each port, which the parent holds open: the kernel
distributes connections over them, and those that wait for a dead worker wait for its successor. If
that cannot start, or dies soon, too, its sockets are closed, and the others get all connections. A
worker that dies is replaced; its calls are resumed or ended as after the death of a machine, and
the calls of others are not affected. One that hangs for long is killed and replaced, since
connections would wait for it. The parent serves no requests and holds no calls. A stop signal to a
worker stops all: the worker informs the parent.
"""

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from types import FrameType

from adapters.outbound.worker_board import WorkerBoard
from application.backoff import Backoff
from entrypoints.configuration import InvalidSettings
from entrypoints.listening import Endpoint, bind
from entrypoints.reload import obeyed
from entrypoints.stop_signals import AT_ONCE, STOP_SIGNALS, StopSignals, held_back

BACKLOG = 2_048
STEADY_SECONDS = 5.0
"""A worker that dies sooner, or without a sign of life, is replaced after a pause that doubles each
time."""

FIRST_WAIT_SECONDS = 0.1
MAX_WAIT_SECONDS = 5.0
FORCED_SECONDS = 5.0
"""How long workers have after a repeated signal before they are killed."""

DRAINED_SECONDS = 10.0
"""How long they have after the first signal beyond `DRAIN_SECONDS`; they need 8 s of it."""

LOOK_SECONDS = 1.0
SILENT_LOOKS = 10
MAX_SILENT_LOOKS = 30
MAX_START_LOOKS = 300
"""After how many looks without a sign of life a worker is logged, and killed: with a sign of life
since its start, and without. Looks are counted, not time: after a pause of the machine no worker
has shown any."""

HELD_BACK = (*STOP_SIGNALS, AT_ONCE, signal.SIGHUP)
"""The signals that are blocked in a new worker until it handles them."""

_log = logging.getLogger(__name__)


class _Worker:
    """One slot and the process on it."""

    def __init__(self, number: int, endpoints: Sequence[Endpoint]) -> None:
        self.number = number
        self.sockets = bind(endpoints, is_shared=True)
        for listening in self.sockets:
            listening.listen(BACKLOG)
        self._endpoints = endpoints
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.start_at = 0.0
        self.backoff = Backoff(FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS)
        self.heartbeat = 0
        self.silent_looks = 0

    def stop_listening(self) -> None:
        """Close the sockets, so that no connection waits here."""
        for listening in self.sockets:
            listening.close()
        self.sockets = []

    def bind(self) -> None:
        """Open sockets for the next worker.

        Raises:
            InvalidSettings: they cannot be opened now.

        """
        if not self.sockets:
            self.sockets = bind(self._endpoints, is_shared=True)

    def start_later(self, now: float, *, is_likely: bool = False) -> None:
        """Double the pause, and close the sockets until the next worker starts.

        If the next start `is_likely` to succeed, connections wait through the first, short pause.
        """
        self.start_at = now + self.backoff.note_failure()
        if is_likely and self.backoff.failures == 1:
            return
        self.stop_listening()
        with suppress(InvalidSettings):  # the start tells it
            self.bind()


class Workers:
    """Starts, replaces and stops the workers; `run` does all of it."""

    def __init__(
        self,
        count: int,
        environment: Mapping[str, str],
        endpoints: Sequence[Endpoint],
        *,
        drain_seconds: float,
    ) -> None:
        self._environment = environment
        self._drain_seconds = drain_seconds
        self._board = WorkerBoard.make(count)
        self._workers = [_Worker(number, endpoints) for number in range(count)]
        self._alive, self._alive_end = os.pipe()
        self._told_to_stop, self._tell_to_stop = os.pipe()
        self._stop = StopSignals()
        self._has_to_reload = False
        self._told = 0
        self._kill_at = inf
        self._look_at = 0.0
        self._has_failed = False

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets of one of the workers: the others have the same addresses."""
        return self._workers[0].sockets

    @property
    def is_interrupted(self) -> bool:
        """Whether it was Ctrl-C that came first."""
        return self._stop.is_interrupt

    def run(self) -> bool:
        """Serve until a signal has come and every worker is gone; False if one has failed then."""
        with _woken_by_signals(self._stop) as wake, obeyed(self._note_reload):
            while True:
                self._pass_on_reload()
                self._obey()
                self._look_after()
                if self._is_stopping and not any(worker.process for worker in self._workers):
                    _log.info("stopped", extra={"has_failed": self._has_failed})
                    return not self._has_failed
                ready, _, _ = select.select(
                    [wake, self._told_to_stop], [], [], self._seconds_to_wait()
                )
                for descriptor in ready:
                    os.read(descriptor, 1_024)
                if self._told_to_stop in ready and not self._is_stopping:
                    self._stop.note(signal.SIGTERM)

    def _note_reload(self) -> None:
        self._has_to_reload = True

    def _pass_on_reload(self) -> None:
        """Signal every worker to read its files again; a starting worker does so later."""
        if self._has_to_reload:
            self._has_to_reload = False
            self._tell(signal.SIGHUP)

    @property
    def _is_stopping(self) -> bool:
        return self._stop.first is not None

    def _obey(self) -> None:
        """Pass the first signal on as a request to drain, a repetition as one to exit at once."""
        now = time.monotonic()
        if self._is_stopping and not self._told:
            _log.info("stopping, %s worker(s) drain", len(self._workers))
        for is_due, number, seconds in (
            (self._is_stopping, signal.SIGTERM, self._drain_seconds + DRAINED_SECONDS),
            (self._stop.is_repeated, AT_ONCE, FORCED_SECONDS),
        )[self._told :]:
            if is_due:
                self._told += 1
                self._kill_at = now + seconds
                self._tell(number)
        if now >= self._kill_at:
            self._kill_at = inf
            late = [worker.number for worker in self._workers if worker.process is not None]
            _log.error("workers have not ended in time and are killed", extra={"workers": late})
            self._tell(signal.SIGKILL)

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)

    def _look_after(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            process = worker.process
            if process is not None and process.poll() is not None:
                worker.process = None
                self._note_end(worker, process.returncode, now)
                self._board.free(worker.number)
            if worker.process is None and not self._is_stopping and now >= worker.start_at:
                self._start(worker, now)
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            for worker in self._workers:
                self._look_for_life(worker)

    def _look_for_life(self, worker: _Worker) -> None:
        """Log a worker without a sign of life for a while; kill one that hangs."""
        heartbeat = self._board.heartbeat(worker.number)
        if worker.process is None or heartbeat != worker.heartbeat:
            worker.heartbeat, worker.silent_looks = heartbeat, 0
            return
        worker.silent_looks += 1
        if worker.silent_looks == SILENT_LOOKS:
            _log.error("worker shows no life", extra={"worker": worker.number})
        if worker.silent_looks >= (MAX_SILENT_LOOKS if heartbeat else MAX_START_LOOKS):
            worker.process.kill()

    def _note_end(self, worker: _Worker, status: int, now: float) -> None:
        if self._is_stopping:
            if status != 0:
                self._has_failed = True
                _log.error(
                    "worker has failed in the drain",
                    extra=self._told_of(worker, status),
                )
            worker.stop_listening()
            return
        has_lived = self._board.heartbeat(worker.number) != 0
        if not has_lived or now - worker.started_at < STEADY_SECONDS:
            worker.start_later(now, is_likely=has_lived)
        else:
            worker.backoff.reset()
            worker.start_at = now
        wait = worker.backoff.seconds
        _log.error(
            "worker has died and is replaced",
            extra={**self._told_of(worker, status), "replaced_in_seconds": wait},
        )

    def _told_of(self, worker: _Worker, status: int) -> dict[str, object]:
        """Return the fields of a log line about an ended worker, whose connections were cut."""
        connections = self._board.taken(worker.number)
        return {"worker": worker.number, "status": status, "connections": connections}

    def _start(self, worker: _Worker, now: float) -> None:
        """Start it, or try again later: the others serve meanwhile."""
        try:
            worker.bind()
            worker.process = self._spawn(worker)
        except (OSError, InvalidSettings) as error:
            worker.start_later(now)
            cause, wait = " ".join(str(error).split()), worker.backoff.seconds
            _log.error(
                "worker cannot be started",
                extra={"worker": worker.number, "error": cause, "again_in_seconds": wait},
            )
            return
        worker.started_at = now
        worker.silent_looks = 0

    def _spawn(self, worker: _Worker) -> subprocess.Popen[bytes]:
        """Start it in a new session, so that only the parent gets a Ctrl-C of the terminal."""
        listening = [bound.fileno() for bound in worker.sockets]
        inherited = (self._board.fd, self._alive, self._tell_to_stop)
        with held_back(*HELD_BACK):
            return subprocess.Popen(  # noqa: S603  # our own words and numbers
                [
                    *(sys.executable, "-m", "entrypoints.worker"),
                    ",".join(map(str, listening)),
                    *map(str, (*inherited, worker.number)),
                ],
                env=dict(self._environment),
                pass_fds=(*listening, *inherited),
                start_new_session=True,
            )

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        due = [
            worker.start_at for worker in self._workers if not (worker.process or self._is_stopping)
        ]
        return max(0.0, min([*due, self._kill_at, self._look_at]) - now)


@contextmanager
def _woken_by_signals(stop: StopSignals) -> Iterator[int]:
    """Handle stop signals; yield a descriptor that is readable after a signal or a child's end."""

    def note(number: int, _: FrameType | None) -> None:
        stop.note(number)

    def wake_only(_number: int, _frame: FrameType | None) -> None:
        """Do nothing: the wake-up descriptor shows that a child has ended."""

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    on_child = signal.signal(signal.SIGCHLD, wake_only)
    stop.listen(note)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGCHLD, on_child)
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
