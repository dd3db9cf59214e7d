"""Starts the command line `rtaa-ingest` in a Python that has imported it already.

A start costs half a second of a core, nearly all of it imports, and the tests have hundreds. One
process for each process of tests imports everything and then waits; it forks for each start. What
it forks is a process like any other, with arguments, environment, directory and standard streams
of its own. So are the workers of `serve --workers N`, which the process that was forked forks again
(`warm_workers`). How a process starts is tested with a Python of its own.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, Protocol

from warm_workers import use_warm_workers

from entrypoints.cli import main
from entrypoints.registry import destination_adapters

MAX_REQUEST_BYTES = 128 * 1024
"""Of the arguments, the environment and the directory of one start."""

NUMBER = struct.Struct("=i")
"""How a process id, and later what `os.waitstatus_to_exitcode` makes of its end, is told."""

POLL_SECONDS = 0.01

PYTHONPATH = "PYTHONPATH"


class Process(Protocol):
    """What the tests use of a `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


def can_be_warm(env: Mapping[str, str]) -> bool:
    """Tell whether Python itself would be the same with other variables than those of here.

    Where it looks for modules is taken over, but for what it would run at its start.
    """
    names = {it for it in {*env, *os.environ} if it.startswith("PYTHON")} - {PYTHONPATH}
    if any(env.get(name) != os.environ.get(name) for name in names):
        return False
    return not any((Path(it) / "sitecustomize.py").exists() for it in _search_path(env))


def _search_path(env: Mapping[str, str]) -> Sequence[str]:
    return [it for it in env.get(PYTHONPATH, "").split(os.pathsep) if it]


class WarmProcess:
    """A process that was forked; as its `subprocess.Popen` would be."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        cwd: Path | None = None,
    ) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._lock = Lock()
        told, tell = os.pipe()
        self._told = os.fdopen(told, "rb", buffering=0)
        try:
            request = json.dumps([*arguments, dict(env), str(cwd or Path.cwd())]).encode()
            _the_starter().send(request, [stdout, stderr, tell])
        finally:
            os.close(tell)
        self.pid: int = NUMBER.unpack(self._told.read(NUMBER.size))[0]

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._told], [], [], 0)[0]:
                self.returncode = NUMBER.unpack(self._told.read(NUMBER.size))[0]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        self._told.close()


class Starter:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        atexit.register(self.close)

    def send(self, request: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._socket, [request], descriptors)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_starter: Starter | None = None


def run_warm(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with TemporaryFile() as out, TemporaryFile() as errors:
        process = WarmProcess(arguments, env, out.fileno(), errors.fileno(), cwd)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        told = []
        for file in (out, errors):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *told)


def _the_starter() -> Starter:
    global _starter  # noqa: PLW0603  # one for a process
    _starter = _starter or Starter()
    return _starter


def _serve_starts(requests: socket.socket) -> Sequence[str] | None:
    """Fork for each request; return its arguments in what is forked, None in the end."""
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    ends: dict[int, tuple[int, int]] = {}
    while True:
        for ready, _ in poll.poll():
            if ready in ends:
                pid, tell = ends.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(BrokenPipeError):  # the test has let go of it
                    os.write(tell, NUMBER.pack(code))
                poll.unregister(ready)
                os.close(ready)
                os.close(tell)
                continue
            request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
            if not request:
                return None
            stdout, stderr, tell = descriptors
            pid = os.fork()
            if not pid:
                return _become(request, stdout, stderr)
            os.write(tell, NUMBER.pack(pid))
            os.close(stdout)
            os.close(stderr)
            end = os.pidfd_open(pid)
            ends[end] = pid, tell
            poll.register(end, select.POLLIN)


def _become(request: bytes, stdout: int, stderr: int) -> Sequence[str]:
    """Be the process that is asked for; return its arguments."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    told: list[Any] = json.loads(request)
    *arguments, environment, directory = told
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = _search_path(os.environ)
    os.chdir(directory)
    return arguments


if __name__ == "__main__":
    for module in ("check", "serve"):
        import_module(f"entrypoints.cli.{module}")
    import_module("entrypoints.server")
    use_warm_workers()
    destination_adapters()
    gc.collect()
    gc.freeze()  # what is imported stays: no process that is forked looks through it, or copies it
    chosen = _serve_starts(socket.socket(fileno=int(sys.argv[1])))
    if chosen is not None:
        main(chosen, prog_name="rtaa-ingest")
