"""The port that renders the counts of `Telemetry`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

HANDSHAKE_MINUTES = 10
"""For how many minutes handshakes are remembered."""


class BrokerOutage(NamedTuple):
    """An outage of one process's broker; `until_ms` is None while it lasts."""

    since_ms: int
    until_ms: int | None
    lost: int
    """Frames that were lost in it."""
    turned_away: int
    """Handshakes that were refused because of it."""
    is_partial: bool
    """Whether a part of the broker took writes all the time."""


class ServiceState(NamedTuple):
    """The state of the service, over all its processes, in the figures of its metrics."""

    takes_writes: bool
    """Whether its broker takes writes."""
    calls: int
    buffered_bytes: int
    oldest_seconds: float
    """The age of the oldest frame that is not confirmed."""
    lost: int
    """Frames that were received and lost."""
    received: int
    """Frames that were received."""
    is_draining: bool
    outages: Sequence[BrokerOutage]
    """The last outages of each process."""
    watches_since_ms: int
    """Since when outages of the broker have been recorded."""
    handshakes: Mapping[str, Mapping[int, int]]
    """Handshakes of the last `HANDSHAKE_MINUTES`, by outcome and by minute since 1970."""
    refused_at_ms: Mapping[str, int]
    """When the last handshake was refused, by outcome."""


class MetricsExposition(Protocol):
    """Renders metrics for a scraper."""

    @property
    def media_type(self) -> str:
        """The content type of what `render` returns."""
        ...

    def render(self) -> bytes:
        """Return all metrics as they are now."""
        ...

    def service_state(self) -> ServiceState:
        """Return the current state of the service."""
        ...

    def share(self) -> None:
        """Share the counts of this process with the other processes of the service, if any."""
        ...
