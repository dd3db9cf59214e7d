"""The log line of a start: version, addresses, and who may connect."""

import logging
import platform
import socket
from collections.abc import Iterable

from entrypoints.access_summary import who_enters
from entrypoints.listening import endpoint_of
from entrypoints.settings import Settings
from entrypoints.version import VERSION

_log = logging.getLogger(__name__)


def log_start(settings: Settings, sockets: Iterable[socket.socket], workers: int) -> None:
    """Log one line; `sockets` listen. Secrets are not in it."""
    bearer, basic, none, *_ = (rule for _, rule in who_enters(settings))
    at: dict[str, list[str]] = {name: [] for name in settings.ports}
    for listening in sockets:
        endpoint = endpoint_of(listening, settings.ports)
        at[endpoint.variable].append(str(endpoint))
    _log.info(
        "listening",
        extra={
            "version": VERSION,
            "python": platform.python_version(),
            "at": at["PORT"],
            "operations_at": at.get("OPERATIONS_PORT") or at["PORT"],
            "workers": workers,
            "adapter": settings.adapter.name,
            "destination": dict(settings.adapter.describe(settings.texts)),
            "bearer": bearer,
            "basic": basic,
            "no_authorization": none,
            "traces": settings.traces is not None,
        },
    )
