"""The port that renders what `Telemetry` counted."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

HANDSHAKE_MINUTES = 10
"""Of so many minutes handshakes are remembered."""


class BrokerOutage(NamedTuple):
    """A time in which the broker of one process took no writes; `until_ms` None while it lasts."""

    since_ms: int
    until_ms: int | None
    lost: int
    """Frames that were lost in it."""
    turned_away: int
    """Handshakes that were refused because of it."""
    is_partial: bool
    """Whether a part of the broker took writes all the time."""


class ServiceState(NamedTuple):
    """How the service stands, over all its processes, in the figures of its metrics."""

    takes_writes: bool
    """Whether its broker does."""
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
    """The last ones, of each process by itself."""
    watches_since_ms: int
    """Since when outages of the broker are noted."""
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
        """Return the figures that tell how the service stands now."""
        ...

    def share(self) -> None:
        """Let the other processes of the service know what was counted here, if there are any."""
        ...
