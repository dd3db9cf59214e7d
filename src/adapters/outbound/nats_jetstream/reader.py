"""`StreamReader` over JetStream."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from adapters.brokers.data import UNREADABLE
from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.access import Access
from adapters.outbound.nats_jetstream.layout import stream_of
from adapters.outbound.nats_jetstream.messages import Message
from adapters.outbound.nats_jetstream.reading import ask_message, messages
from adapters.outbound.nats_jetstream.requests import Stored
from application.ports.errors import BrokerRefused
from application.ports.reader import Announcement, Newest, PublishedEntry, StreamReader
from application.store_kit.storing import is_kept
from domain.head import Head
from domain.identifiers import StreamKey

PAGE = 500
MAX_PLACES = 10_000
"""The number of streams whose last read message is remembered."""


class JetStreamReader(StreamReader):
    """Reads page by page, so that a call of hours does not have to fit in memory."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._layout = access.layout
        self._places: OrderedDict[StreamKey, tuple[int, int, int]] = OrderedDict()
        self._epoch = 0

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield what is kept. See `StreamReader.read`."""
        newest = await self._last(stream)
        if newest is None:
            return
        head, last = newest.head(), newest.sequence
        first = self._first(stream, after, last)
        subjects = self._layout.all_of(stream)
        async for stored in messages(self._access, self._layout.audio, subjects, first, last):
            message = Message.read(stored.sequence, stored.payload)
            for it in self._kept(stream, message, head, after):
                yield it

    async def head(self, stream: StreamKey) -> Head | None:
        """Return the head in the last message. See `StreamReader.head`."""
        newest = await self._last(stream)
        return None if newest is None else newest.head()

    async def newest(self, stream: StreamKey) -> Newest | None:
        """Return both from the last message. See `StreamReader.newest`."""
        message = await self._last(stream)
        if message is None:
            return None
        entries = message.entries()
        return Newest(message.head(), entries[-1] if entries else None)

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return a page of the index. See `StreamReader.announcements`.

        A cursor above the newest message is from before a roll-back, so everything is read again.
        If the server has reached the cursor's number again, the messages up to it are not found.
        """
        sequence, place = _read_cursor(after)
        subjects, name = self._layout.index_subjects, self._layout.audio
        newest = await ask_message(self._access, requests.last(name, subjects))
        page: list[Announcement] = []
        if newest is None:
            return page
        last_read = sequence - 1 if place is None else sequence
        if newest.sequence < last_read:  # the server is back younger than the cursor
            sequence, place = 1, None
        async for stored in messages(self._access, name, subjects, sequence, newest.sequence):
            skipped = place + 1 if stored.sequence == sequence and place is not None else 0
            page += _announced(stored)[skipped:]
            if len(page) >= PAGE:
                break
        return page

    async def _last(self, stream: StreamKey) -> Message | None:
        subjects = self._layout.all_of(stream)
        stored = await ask_message(self._access, requests.last(self._layout.audio, subjects))
        return None if stored is None else Message.read(stored.sequence, stored.payload)

    def _kept(
        self, stream: StreamKey, message: Message, head: Head, after: PublishedEntry | None
    ) -> list[PublishedEntry]:
        kept = [it for it in message.entries() if is_kept(it, head, after)]
        if kept:
            self._places[stream] = (kept[-1].generation, kept[-1].position, message.sequence)
            self._places.move_to_end(stream)
            if len(self._places) > MAX_PLACES:
                self._places.popitem(last=False)
        return kept

    def _first(self, stream: StreamKey, after: PublishedEntry | None, last: int) -> int:
        """Return the sequence to read from: that after the entry, if it was the last one read."""
        if self._epoch != self._access.epoch:
            self._places.clear()
            self._epoch = self._access.epoch
        known = self._places.get(stream)
        if known is None or after is None or known[:2] != (after.generation, after.position):
            return 1
        return known[2] + 1 if known[2] <= last else 1


def _announced(stored: Stored) -> list[Announcement]:
    try:
        stream = stream_of(stored.subject)
    except UNREADABLE as error:
        raise BrokerRefused(f"the subject of message {stored.sequence} is not ours") from error
    return Message.read(stored.sequence, stored.payload).announcements(stream)


def _read_cursor(after: str | None) -> tuple[int, int | None]:
    """Return the sequence to start with, and the last place read in it; None for none."""
    if after is None:
        return 1, None
    sequence, dot, place = after.partition(".")
    return (int(sequence), int(place)) if dot else (int(sequence) + 1, None)
