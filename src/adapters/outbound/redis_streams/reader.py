"""`StreamReader` over Redis."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.entries import EntryReader
from adapters.outbound.redis_streams.heads import read_head
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.resp import Command
from adapters.outbound.redis_streams.slots import Key
from adapters.outbound.redis_streams.wire import Reply
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerUnavailable
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from domain.head import Head
from domain.identifiers import StreamKey

PAGE_ENTRIES = 500
"""Entries of one XRANGE: at most some 50 MB where frames are as long as they may be."""

ANSWER_SECONDS = 5.0

Page = list[tuple[bytes, Mapping[bytes, bytes]]]


class RedisStreamReader(StreamReader):
    """Reads page by page, so that a call of hours does not have to fit in memory."""

    def __init__(self, link: Link, options: DestinationOptions) -> None:
        self._link = link
        self._prefix = options.prefix

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield what is kept. See `StreamReader.read`."""
        key = layout.stream_key(self._prefix, stream)
        start: str | bytes = "-"
        if after is not None:
            start = f"({after.generation}-{after.position}"
        facts_key = layout.facts_key(self._prefix, stream)
        started = await self._ask(("HGET", facts_key, "started"), stream)
        entries = EntryReader(started)
        while page := await self._page(key, start, stream):
            for found_id, fields in page:
                mark, entry = entries.read(found_id, fields)
                yield PublishedEntry(mark.generation, mark.position, entry)
            start = b"(" + page[-1][0]

    async def head(self, stream: StreamKey) -> Head | None:
        """Return the hash, or what the entries tell without it. See `StreamReader.head`."""
        key = layout.stream_key(self._prefix, stream)
        facts_key = layout.facts_key(self._prefix, stream)
        fields = _pairs(await self._ask(("HGETALL", facts_key), stream))
        first = await self._ask(("XRANGE", key, "-", "+", "COUNT", 1), stream)
        last = await self._ask(("XREVRANGE", key, "+", "-", "COUNT", 1), stream)
        info = (b"last-generated-id", last[0][0], b"first-entry", first[0]) if last else ()
        return read_head(len(first), fields, info)

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return a page of the index. See `StreamReader.announcements`."""
        start = "-" if after is None else f"({after}"
        index_key = layout.index_key(self._prefix)
        found = await self._page(index_key, start, index_key)
        return [layout.read_announcement(*entry) for entry in found]

    async def _page(self, key: str, start: str | bytes, routed_by: Key) -> Page:
        found = await self._ask(("XRANGE", key, start, "+", "COUNT", PAGE_ENTRIES), routed_by)
        return [(entry_id, _pairs(fields)) for entry_id, fields in found]

    async def _ask(self, command: Command, key: Key) -> Reply:
        """Ask for one reply; being connected first is not part of the time that it may take."""
        await self._link.connect(key)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._link.run_one(command, key)
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer within {ANSWER_SECONDS:g} s") from error


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
