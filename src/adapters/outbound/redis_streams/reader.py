"""`StreamReader` over Redis."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.failures import translate
from application.ports.destination import DestinationOptions
from application.ports.reader import Announcement, PublishedEvent, StreamFacts, StreamReader
from domain.identifiers import StreamKey

PAGE_ENTRIES = 500
"""Entries of one XRANGE: at most some 50 MB where frames are as long as they may be."""


Page = list[tuple[bytes, dict[bytes, bytes]]]


class RedisStreamReader(StreamReader):
    """Reads page by page, so that a call of hours does not have to fit in memory."""

    def __init__(self, client: Redis, options: DestinationOptions) -> None:
        self._client = client
        self._prefix = options.prefix

    async def read(
        self, stream: StreamKey, after: PublishedEvent | None = None
    ) -> AsyncIterator[PublishedEvent]:
        """Yield what is kept. See `StreamReader.read`."""
        key = layout.stream_key(self._prefix, stream)
        start = b"-"
        if after is not None:
            start = f"({after.generation}-{after.event.position}".encode()
        try:
            started: Any = await self._client.hget(
                layout.facts_key(self._prefix, stream), "started"
            )
            entries = layout.EntryReader(started)
            while page := cast("Page", await self._client.xrange(key, start, "+", PAGE_ENTRIES)):
                for entry_id, fields in page:
                    yield PublishedEvent(*entries.read(entry_id, fields))
                start = b"(" + page[-1][0]
        except RedisError as error:
            raise translate(error) from error

    async def facts(self, stream: StreamKey) -> StreamFacts | None:
        """Return the hash. See `StreamReader.facts`."""
        try:
            held: dict[Any, Any] = await self._client.hgetall(
                layout.facts_key(self._prefix, stream)
            )
        except RedisError as error:
            raise translate(error) from error
        if not held:
            return None
        account = layout.read_account(
            held[b"next"],
            held.get(b"first_seq"),
            held.get(b"last_seq"),
            held[b"ledger"],
            held[b"state"],
        )
        return StreamFacts(int(held[b"generation"]), account, int(held[b"trimmed"]))

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return a page of the index. See `StreamReader.announcements`."""
        start = "-" if after is None else f"({after}"
        try:
            found = await self._client.xrange(
                layout.index_key(self._prefix), start, "+", PAGE_ENTRIES
            )
        except RedisError as error:
            raise translate(error) from error
        return [layout.read_announcement(*entry) for entry in cast("Page", found)]
