"""A worker of the readers' kit in the process of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy

from rtaa_reader import AsyncReader, Audio, Event, Options

LEASE = 2.0


class Reading:
    """A worker in this process; `events` are what it has read."""

    def __init__(self, reader: AsyncReader) -> None:
        self.reader = reader
        self.events: list[Event] = []

    @property
    def seqs(self) -> list[tuple[str, int]]:
        return [(it.run, it.seq) for it in self.events if isinstance(it, Audio)]

    def of(self, kind: type[Event]) -> list[Event]:
        return [it for it in self.events if isinstance(it, kind)]

    async def read(self) -> None:
        async for event in self.reader:
            self.events.append(event)


@asynccontextmanager
async def reading(
    lab: BrokerLab, worker: str = "one", lease: float = LEASE, url: str = ""
) -> AsyncIterator[Reading]:
    async with AsyncReader(url or lab.url, "asr", worker, Options(lease_seconds=lease)) as reader:
        found = Reading(reader)
        task = asyncio.create_task(found.read())
        try:
            yield found
            assert not task.done(), task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def through(proxy: ChaosProxy, lab: BrokerLab) -> str:
    """Return the URL of the broker behind a proxy."""
    return lab.url.replace(str(lab.port), str(proxy.port))


def keys(lab: BrokerLab, pattern: str) -> list[str]:
    """Return the names of keys that the broker has."""
    with lab.client() as broker:
        found: Any = broker.keys(pattern)
    return [key.decode() for key in found]
