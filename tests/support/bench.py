"""A destination of one's own to try an adapter on."""

from dataclasses import dataclass, field

from application.ports.destination import (
    Destination,
    DestinationAdapter,
    DestinationOptions,
    Trial,
)
from application.ports.publisher import StreamPublisher
from domain.events import Opening
from domain.interaction import Grant


@dataclass
class Bench:
    """A fresh destination to try an adapter on; each `connect` is another process's view of it."""

    adapter: DestinationAdapter
    trial: Trial
    options: DestinationOptions = field(default_factory=lambda: DestinationOptions(prefix="test"))
    connected: list[Destination] = field(default_factory=list)

    def connect(self) -> Destination:
        destination = self.adapter.connect(self.options, self.trial.environment)
        self.connected.append(destination)
        return destination


async def begin(
    publisher: StreamPublisher, opening: Opening, *, owner: str, has_token: bool
) -> Grant:
    """Begin where there is no doubt about how."""
    grant = await publisher.begin(opening, owner=owner, has_token=has_token)
    assert isinstance(grant, Grant)
    return grant
