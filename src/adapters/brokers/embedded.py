"""An embedded server, for trials and tests."""

import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self


class EmbeddedServer(ABC):
    """A server on a free port of 127.0.0.1, which ends with this process.

    Its data survives `stop` and `start`, but not `close`.
    """

    def __init__(self, name: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix=f"rtaa-{name}-")
        self._reaper: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """The directory that is deleted by `close`."""
        return Path(self._home.name)

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server if it is started."""

    def close(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        self._home.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_with_us(self, pid: int) -> None:
        """Start a shell that kills `pid` when this process ends in any way, which closes its pipe.

        It outlives the stop signals of a service, and ends a frozen server too.
        """
        script = """trap '' HUP INT TERM; read _; kill -9 "$1" """
        self._reaper = subprocess.Popen(  # noqa: S603  # fixed words and a number
            ["/bin/sh", "-c", script, "reaper", str(pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _stop_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None


def free_port() -> int:
    """Find a port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
