"""The line with which a service starts: what it is, where it listens, whom it lets in."""

import logging
import platform
import socket
from collections.abc import Iterable

from entrypoints.access_summary import who_enters
from entrypoints.settings import Settings
from entrypoints.sockets import address_of
from entrypoints.version import VERSION

_log = logging.getLogger(__name__)


def log_start(settings: Settings, sockets: Iterable[socket.socket], workers: int) -> None:
    """Log one line; `sockets` listen. Secrets are not in it."""
    bearer, basic, none, *_ = (rule for _, rule in who_enters(settings))
    at: list[str] = []
    operations_at: list[str] = []
    for listening in sockets:
        is_public = listening.getsockname()[1] != settings["OPERATIONS_PORT"]
        (at if is_public else operations_at).append(address_of(listening))
    _log.info(
        "listening",
        extra={
            "version": VERSION,
            "python": platform.python_version(),
            "at": at,
            "operations_at": operations_at or at,
            "workers": workers,
            "adapter": settings.adapter.name,
            "destination": dict(settings.adapter.describe(settings.environment)),
            "bearer": bearer,
            "basic": basic,
            "no_authorization": none,
        },
    )
