"""The contract tests run over every registered destination, without being told of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from application.ports.destination import (
    Destination,
    DestinationAdapter,
    DestinationOptions,
    Trial,
)
from entrypoints.registry import destination_adapters


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


@pytest.fixture(params=sorted(destination_adapters()))
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    adapter = destination_adapters()[request.param]
    async with adapter.trial() as trial:
        bench = Bench(adapter, trial)
        yield bench
        for destination in bench.connected:
            await destination.close()


@pytest.fixture
def destination(bench: Bench) -> Destination:
    return bench.connect()
