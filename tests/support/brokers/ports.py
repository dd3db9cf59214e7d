"""Ports that stay ours while no process listens on them."""

import os
import random
import socket

LOWEST, HIGHEST = 20_000, 32_000
"""Below what Linux (32768) and macOS (49152) give to the near end of a connection by themselves.

A server that is away for a moment loses a port from there to any client that dials meanwhile, and
a client that dials a port without a listener may even be given that port and speak with itself.
"""

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_found: set[int] = set()

_choice = random.Random()  # noqa: S311  # it may be guessed


def quiet_port(also: int = 0) -> int:
    """Find a port for a server that will come and go; no other call finds the same.

    Workers that run tests side by side find different ones. `also`: the port so far above it, where
    the server listens too, is quiet as well.
    """
    while True:
        port = _choice.randint(LOWEST - also, HIGHEST - also)
        is_new = port % _WORKERS == _WORKER and port not in _found
        if is_new and _is_free(port) and _is_free(port + also):
            _found.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
