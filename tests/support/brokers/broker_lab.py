"""A Valkey that fails on demand.

Whatever a fault changes at run time is put back by the end of its `with`; a kill undoes it too.

Not staged, because it cannot be without rights over the machine or with one server: the loss of
what the kernel had not written to disk (`come_back_younger` stands for it, and cuts more surely); a
full disk (`unable_to_save` gives the same answer, MISCONF); an fsync that fails or hangs; a torn
record in the middle of the file; a failover to a replica that lagged behind. Memory pressure that
evicts single keys is staged by deleting them.
"""

import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from ports import quiet_port
from waiting import freeze_process

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

LIMIT_SECONDS = 10.0

TRY_SECONDS = 60.0
"""How long a broker is tried to be made younger: on a slow disk it may take some times."""

TAIL_BYTES = 8 * 1024 * 1024
"""How far from the end of the file a mark is looked for: others may write after it."""

MAX_ROLLED_BACK_SECONDS = 4.0
"""Below the five for which a process keeps what was confirmed."""


class BrokerLab(EmbeddedValkey):
    """An embedded Valkey with faults. Its port stays its own while it is away."""

    def __init__(self, **config: str) -> None:
        if config.get("cluster-enabled") == "yes":  # else 10,000 above its port, where clients dial
            config["cluster-port"] = str(quiet_port())
        super().__init__(**{"aof-load-truncated": "yes", **config})
        self._port = quiet_port()
        self._password = ""

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._port

    @property
    def data(self) -> Path:
        """Where it stores."""
        return self.home

    @property
    def url(self) -> str:
        """Where to connect to, with the password that is in force now."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self._port}/0"

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Connect as an administrator; a frozen server is not waited for."""
        with redis.Redis.from_url(self.url, socket_timeout=LIMIT_SECONDS) as client:
            yield client

    # Death and stillness

    def kill(self) -> None:
        """SIGKILL it, frozen or not, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()
        self._password = ""

    def kill_and_restart(self) -> None:
        """Kill it; it comes back on the same port with what it had written to its file."""
        self.kill()
        self.start()

    def come_back_empty(self) -> None:
        """Kill it; it comes back wiped."""
        self.kill()
        shutil.rmtree(self.data / "appendonlydir")
        (self.data / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def come_back_younger(self, seconds: float = 1.0, marked: threading.Event | None = None) -> int:
        """Let it work on for `seconds`, kill it, cut those seconds off its file, start it.

        `marked` is set when they begin: what is answered before will stay, what is written
        after it will be lost.

        A SIGKILL alone loses nothing that was written to the kernel. Returns how many bytes were
        lost; 0 if nothing was written meanwhile. Nothing is lost that was written more than
        `MAX_ROLLED_BACK_SECONDS` ago, however slow the disk is.
        """
        until = time.monotonic() + TRY_SECONDS
        while True:
            written_at = time.monotonic()
            self.until_written()
            last, size = self._last_increment()
            if marked is not None:
                marked.set()
            time.sleep(seconds)  # what is written now is what will be lost
            self.freeze()
            now_last, now_size = self._last_increment()
            is_recent = time.monotonic() - written_at <= MAX_ROLLED_BACK_SECONDS
            if now_last == last and is_recent:
                break
            self.thaw()  # the file was rewritten in between, and the mark is none; or it took long
            if time.monotonic() > until:
                raise TimeoutError("the append-only file was rewritten again and again")
        self.kill()
        os.truncate(last, size)
        self.start()
        return now_size - size

    def until_written(self) -> None:
        """Wait until all that was answered is in the file: a slow fsync keeps it away for seconds.

        A key of our own is written and deleted, and looked for in the file, where it is after
        all that. WAITAOF answers at once on a connection that has written nothing, and sometimes
        too soon on one that has.
        """
        until = time.monotonic() + LIMIT_SECONDS
        with self.client() as client:
            while True:
                mark = f"lab:mark:{secrets.token_hex(16)}"
                client.set(mark, "1")
                client.delete(mark)
                again = time.monotonic() + LIMIT_SECONDS / 5
                while time.monotonic() < again:  # a rewrite of the file leaves both out
                    if self._tail().count(mark.encode()) == 2:
                        return
                    time.sleep(0.005)
                if time.monotonic() > until:
                    raise TimeoutError("what was written is not in the file")

    def _tail(self) -> bytes:
        last, size = self._last_increment()
        with last.open("rb") as file:
            file.seek(max(0, size - TAIL_BYTES))
            return file.read()

    def _last_increment(self) -> tuple[Path, int]:
        """Return the file that is being appended to, as its manifest names it, and its size."""
        folder = self.data / "appendonlydir"
        lines = (folder / "appendonly.aof.manifest").read_text().split("\n")
        last = folder / [line.split()[1] for line in lines if line.endswith("type i")][-1]
        return last, last.stat().st_size

    def freeze(self) -> None:
        """Stop it as it is; the kernel still accepts connections and bytes for it."""
        freeze_process(self.pid)

    def thaw(self) -> None:
        """Let it continue."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for as long as the context lasts."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    # Forgetting

    def forget_scripts(self) -> None:
        """SCRIPT FLUSH."""
        with self.client() as client:
            client.script_flush()

    def forget_all_keys(self) -> None:
        """FLUSHALL."""
        with self.client() as client:
            client.flushall()

    def forget(self, *keys: str) -> int:
        """Delete keys, as eviction would; return how many there were."""
        with self.client() as client:
            deleted: Any = client.delete(*keys)
        return int(deleted)
