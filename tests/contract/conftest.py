"""The contract tests run over every registered destination, without being told of it."""

from collections.abc import AsyncIterator

import pytest
from bench import Bench

from application.ports.destination import Destination
from entrypoints.registry import destination_adapters


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
