"""A shell that carries out what a document tells its reader to type."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LIMIT_SECONDS = 60.0
OURS = ("PUBSUB", "REDIS", "NATS", "EXOTEL", "SUPPORT", "JWT", "SIMULATE")

REDIS_CLI = """
import os, sys, redis
url = os.environ.get("REDIS_URL")
words = sys.argv[1:]
if words[0] == "-u":
    url, words = words[1], words[2:]
def show(value):
    if isinstance(value, (list, tuple)):
        for it in value:
            show(it)
    elif isinstance(value, dict):
        show(list(value.items()))
    else:
        print(value.decode(errors="replace") if isinstance(value, bytes) else value)
show(redis.Redis.from_url(url, protocol=2).execute_command(*words))
"""
"""Stands in for redis-cli, which a machine with Python alone has not: sends the same words."""

CURL = """
import sys, urllib.request
assert sys.argv[1] == "-s"
print(urllib.request.urlopen(sys.argv[2], timeout=5).read().decode())
"""

RTAA_INGEST = """
import sys
from entrypoints.cli import main
sys.exit(main())
"""


class Shell:
    """Runs commands in a folder, with the variables given and those of ours taken away."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.first = [self.programs]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        self._variables = {**clean, "COLUMNS": "200", **variables}

    def stand_in(self, name: str, source: str) -> None:
        """Put a program written in Python before all others of its name."""
        path = self.programs / name
        path.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
        path.chmod(0o755)

    def run(self, script: str, **variables: str) -> str:
        """Run a script to its end, which must be a good one; return what it prints."""
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            cwd=self.folder,
            env=self._environment(variables),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, script: str, **variables: str) -> Iterator["Running"]:
        """Run a script that does not end by itself; it is killed at the end."""
        log = self.folder / f"log-{len(list(self.folder.glob('log-*')))}"
        with log.open("wb") as lines:
            process = subprocess.Popen(
                ["/bin/sh", "-ec", script],
                cwd=self.folder,
                env=self._environment(variables),
                stdout=lines,
                stderr=lines,
                start_new_session=True,
            )
        running = Running(process, log)
        try:
            yield running
        finally:
            if process.poll() is None:
                running.send(signal.SIGKILL)
                process.wait(LIMIT_SECONDS)

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        path = os.pathsep.join([*map(str, self.first), os.environ["PATH"]])
        return {**self._variables, **variables, "PATH": path}


class Running:
    """A script that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the shell and all that it has started, as a terminal does."""
        os.killpg(self.process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.send(number)
        return self.process.wait(LIMIT_SECONDS)
