"""The port that renders what `Telemetry` counted."""

from typing import NamedTuple, Protocol


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
