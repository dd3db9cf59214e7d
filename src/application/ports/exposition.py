"""The port that renders what `Telemetry` counted."""

from typing import Protocol


class MetricsExposition(Protocol):
    """Renders metrics for a scraper."""

    @property
    def media_type(self) -> str:
        """The content type of what `render` returns."""
        ...

    def render(self) -> bytes:
        """Return all metrics as they are now."""
        ...

    def share(self) -> None:
        """Let the other processes of the service know what was counted here, if there are any."""
        ...
