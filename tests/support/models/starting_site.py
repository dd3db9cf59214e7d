"""Sessions over memory that is unplugged: a start is pending until `plug`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from counting_telemetry import CountingTelemetry
from session_bench import RecordingConnection

from adapters.inbound.dialects import Dialect
from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.call.closing import Closing
from application.call.messages import End, Message, Start
from application.delivery.live_stream import LiveStream
from domain.access import Principal
from domain.entries import Entry
from domain.events import EndReason
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat
from entrypoints.configuration import read_settings
from entrypoints.container import Container

TENANT, CALL, STREAM = TenantId("tenant"), InteractionId("call"), StreamId("call")
KEY, MEDIA = StreamKey(TENANT, STREAM), MediaFormat(8_000)
START = Start(TENANT, CALL, STREAM, MEDIA)
ENDED = End(EndReason.ENDED)


class StartingSite:
    """The use cases over memory, which is unplugged so that nothing starts until `plug`."""

    def __init__(self) -> None:
        settings = read_settings(
            {"in_memory": InMemory()},
            {
                "PUBSUB_ADAPTER": "in_memory",
                "SUPPORT_EXOTEL": "true",
                "RESUME_SECONDS": "0.05",
                "BUFFER_SECONDS": "1",
            },
        )
        self.telemetry = CountingTelemetry()
        self.container = Container(settings=settings)
        self.container.telemetry.override(self.telemetry)
        destination = self.container.destination()
        assert isinstance(destination, InMemoryStore)
        self.destination = destination
        self.destination.memory.is_plugged = False

    def starting(self, dialect: Dialect, principal: Principal | None = None) -> RecordingConnection:
        return RecordingConnection(self.container.services(), dialect, principal)

    async def plug(self) -> None:
        self.destination.memory.plug()
        await self.container.broker_watch().check()

    async def outcome(self, starting: RecordingConnection) -> LiveStream | Closing:
        await self.until(lambda: starting.live or starting.closing)
        outcome = starting.live or starting.closing
        assert outcome is not None
        return outcome

    async def published(self, key: StreamKey = KEY) -> list[Entry]:
        return [it.entry async for it in self.destination.read(key)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def starting_site() -> AsyncIterator[StartingSite]:
    site = StartingSite()
    container = site.container
    tasks = [
        asyncio.create_task(container.sender().run()),
        asyncio.create_task(container.broker_watch().run()),
    ]
    try:
        yield site
    finally:
        await container.background().close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def say(starting: RecordingConnection, *messages: Message) -> None:
    starting.send(*messages)
    assert starting.closing is None
