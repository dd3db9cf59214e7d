"""`StreamReader` over Redis."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.entries import EntryReader
from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.heads import read_head
from application.ports.destination import DestinationOptions
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from domain.head import Head
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
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield what is kept. See `StreamReader.read`."""
        key = layout.stream_key(self._prefix, stream)
        start = b"-"
        if after is not None:
            start = f"({after.generation}-{after.position}".encode()
        try:
            started: Any = await self._client.hget(
                layout.facts_key(self._prefix, stream), "started"
            )
            entries = EntryReader(started)
            while page := cast("Page", await self._client.xrange(key, start, "+", PAGE_ENTRIES)):
                for found_id, fields in page:
                    mark, entry = entries.read(found_id, fields)
                    yield PublishedEntry(mark.generation, mark.position, entry)
                start = b"(" + page[-1][0]
        except RedisError as error:
            raise translate(error) from error

    async def head(self, stream: StreamKey) -> Head | None:
        """Return the hash, or what the last entry tells without it. See `StreamReader.head`."""
        key = layout.stream_key(self._prefix, stream)
        try:
            fields: dict[Any, Any] = await self._client.hgetall(
                layout.facts_key(self._prefix, stream)
            )
            first: Any = await self._client.xrange(key, "-", "+", 1)
            last: Any = await self._client.xrevrange(key, "+", "-", 1)
        except RedisError as error:
            raise translate(error) from error
        info = (b"last-generated-id", last[0][0], b"first-entry", first[0]) if last else ()
        return read_head(len(first), fields, info)

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
