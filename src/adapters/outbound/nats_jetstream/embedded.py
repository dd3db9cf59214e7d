"""An embedded server for trials and tests: nats-server from a wheel."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from adapters.brokers.embedded import EmbeddedServer, free_port
from application.ports.destination import NoEmbeddedServer

START_SECONDS = 10.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.005

INSTALL = "install rtaa-ingest with the extra nats"


class EmbeddedNats(EmbeddedServer):
    """A NATS server with JetStream. `config` is added to its configuration."""

    def __init__(self, config: str = "", port: int = 0, *, with_jetstream: bool = True) -> None:
        self._program = _program()
        super().__init__("nats")
        self.port = port or free_port()
        store = f'jetstream {{ store_dir: "{self.directory}" }}' if with_jetstream else ""
        self._config = f"{store}\n{config}\n"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id; the server is started."""
        if self._server is None:
            raise RuntimeError("the embedded NATS server is not started")
        return self._server.pid

    @property
    def directory(self) -> Path:
        """The directory of its data."""
        return self.home / "store"

    @property
    def is_started(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._server is not None

    def start(self) -> None:
        """Start the server and wait until it answers. A Ctrl-C does not reach it."""
        config = self.home / "server.conf"
        config.write_text(f'listen: "127.0.0.1:{self.port}"\n{self._config}')
        log = self.home / "server.log"
        with log.open("ab") as lines:
            self._server = subprocess.Popen(  # noqa: S603  # our own words
                [str(self._program), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                start_new_session=True,
            )
        self._end_with_us(self._server.pid)
        until = time.monotonic() + START_SECONDS
        while not self._greets():
            status = self._server.poll()
            if status is not None or time.monotonic() > until:
                self.stop()
                tail = log.read_text(errors="replace").splitlines()[-3:]
                raise NoEmbeddedServer(f"nats-server did not start: {' | '.join(tail)}")
            time.sleep(POLL_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server if it is started."""
        self._stop_reaper()
        if self._server is not None:
            self._server.send_signal(number)
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(STOP_SECONDS)
            self._server = None

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                return probe.recv(4) == b"INFO"
        except OSError:
            return False


def _program() -> Path:
    """Find the server: beside this Python, where its wheel puts it, or on the path."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NoEmbeddedServer(f"there is no nats-server here: {INSTALL}")
    return Path(found)
