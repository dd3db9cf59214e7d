"""Reads JetStream as a consumer does, with plain nats-py, from whichever server leads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import nats
from history import Entry, SentStream
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from published_nats import entries_of, split
from soak_broker import Unreadable

AUDIO: Final = "rtaa-audio"
INDEX: Final = "rtaa.audio.*.*.index"
PAGE = 1_000
ANSWER_SECONDS = 5.0

Found = TypeVar("Found")


class NatsReader:
    """Opens a connection for each look. See `Reader`."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)

    def entries(self, stream: SentStream) -> list[Entry]:
        """Return what is published of a stream."""

        async def read(broker: JetStreamContext) -> list[Entry]:
            found = await _messages(broker, subjects_of(stream))
            return list(entries_of(split(message.data) for message in found))

        return self._with(read)

    def announced(self, seconds: float) -> set[tuple[str, str]]:  # noqa: ARG002
        """Return all that the index has, older than was asked for or not."""

        async def read(broker: JetStreamContext) -> set[tuple[str, str]]:
            found = set()
            for message in await _messages(broker, INDEX):
                tenant, name = message.subject.split(".")[2:4]
                line, _ = split(message.data)
                found |= {
                    (str(row["type"]), f"{tenant}/{name}/{row['id']}") for row in line["entries"]
                }
            return found

        return self._with(read)

    def delete(self, streams: Sequence[SentStream]) -> None:
        """Delete streams."""

        async def purge(broker: JetStreamContext) -> None:
            for stream in streams:
                await broker.purge_stream(AUDIO, subject=subjects_of(stream))

        self._with(purge)

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _with(self, use: Callable[[JetStreamContext], Coroutine[Any, Any, Found]]) -> Found:
        async def connected() -> Found:
            client = await nats.connect(
                self._urls,
                allow_reconnect=False,
                connect_timeout=2,
                error_cb=_ignore,  # each call raises its own
            )
            try:
                return await use(client.jetstream(timeout=ANSWER_SECONDS))
            finally:
                await client.close()

        try:
            return asyncio.run(connected())
        except (nats.errors.Error, OSError) as error:
            raise Unreadable(repr(error)) from error


async def _messages(broker: JetStreamContext, subjects: str) -> list[Msg]:
    """Return all messages up to the last that the leader has."""
    try:
        last = (await broker.get_last_msg(AUDIO, subjects)).seq
    except NotFoundError:
        return []
    found: list[Msg] = []
    async with _consumer(broker, subjects) as consumer:
        while not found or found[-1].metadata.sequence.stream < (last or 0):
            found += await consumer.fetch(PAGE, timeout=ANSWER_SECONDS)
    return found


@asynccontextmanager
async def _consumer(
    broker: JetStreamContext, subjects: str
) -> AsyncIterator[JetStreamContext.PullSubscription]:
    config = ConsumerConfig(ack_policy=AckPolicy.NONE)
    consumer = await broker.pull_subscribe(subjects, stream=AUDIO, config=config)
    try:
        yield consumer
    finally:
        name = (await consumer.consumer_info()).name
        await broker.delete_consumer(AUDIO, name)


async def _ignore(error: Exception) -> None:
    pass


def subjects_of(stream: SentStream) -> str:
    """Return the filter for all of a stream."""
    return f"rtaa.audio.{stream.tenant}.{stream.name}.*"
