"""`StreamReader` over Redis."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.entries import EntryReader
from adapters.outbound.redis_streams.heads import read_head
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.replies import raise_if_error
from adapters.outbound.redis_streams.resp import Command, Reply
from adapters.outbound.redis_streams.slots import Key
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerUnavailable
from application.ports.reader import Announcement, Newest, PublishedEntry, StreamReader
from domain.head import Head
from domain.identifiers import StreamKey

PAGE_ENTRIES = 500
"""The number of entries of one XRANGE: some 50 MB with frames of maximum length."""

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
        """Return the head from the hash, or else from the entries. See `StreamReader.head`."""
        newest = await self._facts(stream)
        return None if newest is None else newest[0]

    async def newest(self, stream: StreamKey) -> Newest | None:
        """Return the head and the last entry, in one round trip. See `StreamReader.newest`."""
        facts = await self._facts(stream)
        if facts is None:
            return None
        head, started, last = facts
        if last is None or (started is None and last[1][b"type"] == b"audio"):
            return Newest(head, None)
        mark, entry = EntryReader(started).read(*last)
        return Newest(head, PublishedEntry(mark.generation, mark.position, entry))

    async def _facts(
        self, stream: StreamKey
    ) -> tuple[Head, bytes | None, tuple[bytes, Mapping[bytes, bytes]] | None] | None:
        key = layout.stream_key(self._prefix, stream)
        facts_key = layout.facts_key(self._prefix, stream)
        told, exists, first, last = await self._ask_all(
            [
                ("HGETALL", facts_key),
                ("EXISTS", key),
                ("XRANGE", key, "-", "+", "COUNT", 1),
                ("XREVRANGE", key, "+", "-", "COUNT", 1),
            ],
            stream,
        )
        fields = _pairs(told)
        info = (b"last-generated-id", last[0][0], b"first-entry", first[0]) if last else ()
        head = read_head(exists if fields else len(first), fields, info)
        if head is None:
            return None
        return head, fields.get(b"started"), (last[0][0], _pairs(last[0][1])) if last else None

    def part_of(self, stream: StreamKey) -> str:
        """Return the shard of a cluster; the only part before it is known. See `StreamReader`."""
        return self._link.part_of(stream)

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
        (reply,) = await self._ask_all([command], key)
        return reply

    async def _ask_all(self, commands: Sequence[Command], key: Key) -> list[Reply]:
        """Run commands; the time limit does not include the connection."""
        await self._link.connect(key)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                replies = await self._link.run(commands, [key] * len(commands))
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer within {ANSWER_SECONDS:g} s") from error
        for reply in replies:
            raise_if_error(reply)
        return replies


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
