"""A destination of one's own to try an adapter on."""

from dataclasses import dataclass, field

from application.ports.destination import (
    Destination,
    DestinationAdapter,
    DestinationOptions,
    Trial,
)


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
