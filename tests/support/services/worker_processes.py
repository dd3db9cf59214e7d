"""The processes of `serve --workers N`, seen from outside."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from running import Caller, ServiceProcess
from waiting import wait_until

StartWorkers = Callable[..., ServiceProcess]


class WorkersProcess(ServiceProcess):
    """A service of two workers, started and waited for."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        python: str | Path = sys.executable,
        *,
        warm: bool = True,
    ) -> None:
        super().__init__(environment, log, ["--workers", "2"], python=python, warm=warm)
        wait_until(lambda: len(children(self)) == 2)
        for pid in children(self):
            wait_until(lambda pid=pid: listens(pid))  # type: ignore[misc]
        self.wait_until_ready()

    def kill_all(self) -> None:
        """Kill what is left of it."""
        pids = children(self)
        if self.process.poll() is None:
            self.kill()
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


def children(service: ServiceProcess) -> list[int]:
    pid = service.process.pid
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def listens(pid: int) -> bool:
    """Whether it has begun to serve: it waits in an event loop by then."""
    try:
        return any("eventpoll" in link for link in descriptors(pid))
    except OSError:
        return False


def descriptors(pid: int) -> set[str]:
    """What a process has open, as the kernel calls it, without what it closes meanwhile."""
    links = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.add(str(descriptor.readlink()))
    return links


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def worker_of(caller: Caller, service: ServiceProcess) -> int:
    """Return the worker that holds the other end of a connection."""
    return worker_of_port(caller.socket.local_address[1], service)


def worker_of_port(port: int, service: ServiceProcess) -> int:
    """Return the worker that holds the other end of a local port."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for pid in children(service):
        if inodes & descriptors(pid):
            return pid
    raise AssertionError("no worker holds it")
