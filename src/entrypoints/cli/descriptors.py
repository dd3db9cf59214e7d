"""The descriptors of a process: its standard streams, and how many sockets it may hold."""

import os
import resource
import sys


def allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: shells often start with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_standard_streams() -> None:
    """Put /dev/null in the place of a standard stream that is closed.

    Otherwise the next socket would get its number, and receive log lines.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)  # noqa: FBT003  # takes no name
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
