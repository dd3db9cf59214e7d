"""Writes log lines to standard error from a thread of its own, and drops what cannot be written.

Standard error may be a pipe that is full because its reader hangs, a pipe without a reader, or a
file on a full disk. A write to the first never returns. So a line only enters a bounded queue. If
the queue is full, or the line cannot be written, it is dropped and counted, and when writing works
again a log line has the count.
"""

import logging
import os
import select
import signal
import threading
import time
from collections import deque

STANDARD_ERROR = 2

QUEUE_BYTES = 1024 * 1024
"""The size of the queue: some thousand lines."""

WRITE_BYTES = select.PIPE_BUF
"""Several lines are written at once, up to so much: a pipe that workers share keeps it together."""

EXIT_SECONDS = 1.0
"""How long the lines that wait when the process exits may take."""

NOTICE_SECONDS = 1.0
"""The interval at which the number of dropped lines is logged."""

POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LogWriter(logging.Handler):
    """Queues records as formatted lines: no record, and no frame of a traceback, is kept."""

    def __init__(self, descriptor: int = STANDARD_ERROR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_writing = self._is_closed = self._is_line_begun = False
        self._dropped = self._told = 0
        self._told_at = 0.0
        self._thread = threading.Thread(target=self._write_on, name="log writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped."""
        return self._dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it when the queue is full."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001  # as logging does: a line must not end what it tells of
            self.handleError(record)
            return
        with self._changed:
            if self._is_closed or self._queued_bytes + len(line) > QUEUE_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            self._changed.notify_all()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # logging's
        """Count a record that cannot be formatted; logging would write to standard error itself."""
        with self._changed:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all lines are written, for a limited time; called when the process exits."""
        with self._changed:
            self._changed.wait_for(self._is_idle, EXIT_SECONDS)

    def close(self) -> None:
        """Take no more lines, and let the thread end once it has written the others.

        It is not joined: a write may never return.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace") + b"\n"

    def _is_idle(self) -> bool:
        return not (self._lines or self._is_writing)

    # The thread

    def _write_on(self) -> None:
        signal.pthread_sigmask(
            signal.SIG_BLOCK, signal.valid_signals()
        )  # the main thread's to take
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                if not self._lines:
                    return
                taken = self._take()
                self._is_writing = True
            if not self._write(b"".join(taken)):
                with self._changed:
                    self._dropped += len(taken)
            elif self._dropped > self._told:
                self._tell_dropped()

    def _take(self) -> list[bytes]:
        """Take the oldest lines, as many as are written at once, and one at least."""
        taken = [self._lines.popleft()]
        size = len(taken[0])
        while self._lines and size + len(self._lines[0]) <= WRITE_BYTES:
            taken.append(self._lines.popleft())
            size += len(taken[-1])
        self._queued_bytes -= size
        return taken

    def _tell_dropped(self) -> None:
        """Log how many lines were dropped since the last such line, at most once per interval."""
        with self._changed:
            dropped, has_more = self._dropped, bool(self._lines)
        now = time.monotonic()
        if has_more and now - self._told_at < NOTICE_SECONDS:
            return
        record = _log.makeRecord(
            _log.name,
            logging.WARNING,
            __file__,
            0,
            "log lines were dropped",
            (),
            None,
            extra={"lines": dropped - self._told},
        )
        if self._write(self._line(record)):
            self._told, self._told_at = dropped, now

    def _write(self, lines: bytes) -> bool:
        """Write whole lines; False if they cannot be written."""
        rest = memoryview(b"\n" + lines if self._is_line_begun else lines)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # it was made non-blocking by a process that shares it
                select.select([], [self._descriptor], [], POLL_SECONDS)
                continue
            except OSError:
                return False
            rest = rest[written:]
            self._is_line_begun = bool(rest)
        return True
