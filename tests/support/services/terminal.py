"""`rtaa-ingest` run on a terminal of its own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from waiting import wait_until

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")
HOME = "\x1b[H"
LIMIT_SECONDS = 15.0


class Terminal:
    """A command on a terminal: what it shows now, and keys for it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.written = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def screen(self) -> str:
        """The last picture that is complete; each begins at the top left."""
        pictures = self.written.split(HOME)
        return ESCAPES.sub("", pictures[-2] if len(pictures) > 2 else pictures[-1])

    def until(self, text: str) -> None:
        """Wait until a text is shown."""
        wait_until(lambda: text in self.screen)

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait(self) -> int:
        return self.process.wait(LIMIT_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT_SECONDS)
        self._reading.join(LIMIT_SECONDS)
        os.close(self._descriptor)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65_536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.written += data.decode(errors="replace")


@contextmanager
def terminal(
    *arguments: str, env: Mapping[str, str], columns: int = 150, lines: int = 40
) -> Iterator[Terminal]:
    """Run `rtaa-ingest` with the given arguments on a terminal of that size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "entrypoints.program", *arguments],
        env={
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": str(lines),
            **env,
        },
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = Terminal(process, ours)
    try:
        yield shown
    finally:
        shown.close()
