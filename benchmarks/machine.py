"""The machine: which cores are used for what, and how it is named."""

import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions

from benchmarks.measure import HAS_PROC


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of the server, and those of all else; empty where processes cannot be pinned."""

    server: frozenset[int]
    others: frozenset[int]

    @property
    def count(self) -> int:
        """How many cores that is."""
        return len(self.server | self.others) or os.cpu_count() or 1

    def __str__(self) -> str:
        """Say who runs where."""
        if not self.server:
            return "server, broker, loader and observer share all cores: nothing is pinned"
        server, others = (",".join(map(str, cores)) for cores in (self.server, self.others))
        return f"server on core {server}; broker, loader and observer on core {others}"


def choose_cores() -> Cores:
    """Take the first core that we may use for the server and the second for all else."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(frozenset(), frozenset())
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) == 1:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(ours[:1]), frozenset(ours[1:2]))


def pin(pid: int, cores: frozenset[int]) -> None:
    """Keep a process, and what it starts from now on, on some cores; 0 is this process."""
    if cores:
        os.sched_setaffinity(pid, cores)


def allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe_machine() -> str:
    """Name system, cores and Python."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    unmeasured = "" if HAS_PROC else "; no /proc: no figures of CPU and memory"
    return f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}{unmeasured}"


def describe_libraries(names: Sequence[str], path: Sequence[str]) -> str:
    """Name the versions that are installed in `path`, of those that are."""
    versions = {it.name: it.version for it in distributions(path=list(path))}
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
