"""Sockets to listen on, bound before anything is built: what cannot be bound is a wrong value."""

import socket
from contextlib import ExitStack

from application.ports.destination import Problem
from entrypoints.settings import InvalidSettings


def bind(host: str, port: int, name: str, *, is_shared: bool = False) -> socket.socket:
    """Bind a socket, not yet listening, for the variable `name`; `is_shared` with others like it.

    Raises:
        InvalidSettings: it cannot be bound.

    """
    try:
        return _bind(host, port, is_shared=is_shared)
    except OSError as error:
        found = f"{host}:{port}, which cannot be listened on: {error.strerror}"
        raise InvalidSettings(
            [Problem(name, found, "an address and port that are free")]
        ) from error


def check_free(host: str, port: int, name: str) -> None:
    """Bind as one that shares it with no process: another service of workers would share it.

    Raises:
        InvalidSettings: another process listens there.

    """
    bind(host, port, name).close()


def address_of(listening: socket.socket) -> str:
    """Return where a socket listens, as in a URL."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int, *, is_shared: bool) -> socket.socket:
    (family, kind, *_, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as on_failure:
        bound = socket.socket(family, kind)
        on_failure.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_shared))
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        on_failure.pop_all()
    return bound
