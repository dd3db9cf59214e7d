"""How many sockets a process may hold."""

import resource


def allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: shells often start with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
