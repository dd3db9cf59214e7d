"""Readers and open runs in memory that break one promise each."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import ClassVar

from adapters.outbound.in_memory import PAGE, InMemoryStore, Memory
from application.ports.reader import Announcement, Newest, PublishedEntry
from application.ports.store import Append, Outcome
from domain.identifiers import StreamKey
from domain.media import AudioFrame


class EndsNotAnnounced(InMemoryStore):
    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        return [it for it in await super().announcements(after) if not it.has_ended]


class SecondPageEmpty(InMemoryStore):
    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        return await super().announcements() if after is None else []


class LinesChanged(InMemoryStore):
    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        async for it in super().read(stream, after):
            entry = it.entry
            if isinstance(entry, AudioFrame) and b"\r\n" in entry.audio:
                audio = entry.audio.replace(b"\r\n", b"\n\n")
                entry = replace(entry, audio=audio)
            yield replace(it, entry=entry)


class EmptyWhereUnreachable(InMemoryStore):
    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        if self.memory.is_plugged:
            async for it in super().read(stream, after):
                yield it


class PagesByOffset(InMemoryStore):
    """Counts a page's place among those that are kept."""

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        offset = 0
        while page := [it async for it in super().read(stream, after)][offset : offset + 100]:
            offset += len(page)
            for it in page:
                yield it


class AfterIgnored(InMemoryStore):
    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        async for it in super().read(stream):
            yield it


class NewestIsTheOneBefore(InMemoryStore):
    async def newest(self, stream: StreamKey) -> Newest | None:
        newest = await super().newest(stream)
        entries = [it async for it in self.read(stream)]
        return newest and Newest(newest.head, entries[-2] if len(entries) > 1 else newest.last)


class HeartbeatStays(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        new = [it for it in streams if it not in self.memory.contents.heartbeats]
        await super().heartbeat(new)


class ForgetsAnyHeartbeat(InMemoryStore):
    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        self.memory.contents.heartbeats.pop(stream, None)


class HeartbeatOfNoneIsNothing(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        if streams:
            await super().heartbeat(streams)


class PagesByTheMillisecond(InMemoryStore):
    """Cursors are all different, and only their time is compared."""

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        announced = self.memory.contents.announced
        before = len(announced)
        outcomes = await super().append(appends)
        now = time.time_ns() // 1_000_000
        for place in range(before, len(announced)):
            announced[place] = replace(announced[place], cursor=f"{now}.{place}")
        return outcomes

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        since = 0 if after is None else int(after.partition(".")[0])
        announced = self.memory.contents.announced
        return [it for it in announced if int(it.cursor.partition(".")[0]) > since][:PAGE]


class PagesFilledByAnotherInstallation(InMemoryStore):
    """Takes a page of all installations, and leaves out what is of others."""

    all_announced: ClassVar[list[tuple[Memory, Announcement]]] = []

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await super().append(appends)
        announced = self.memory.contents.announced
        self.all_announced.extend((self.memory, it) for it in announced)
        announced.clear()
        return outcomes

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        first = 0 if after is None else int(after) + 1
        page = list(enumerate(self.all_announced))[first : first + PAGE]
        return [replace(it, cursor=str(n)) for n, (memory, it) in page if memory is self.memory]


class CountsCursorsAnewAfterALoss(InMemoryStore):
    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        first = 0 if after is None else int(after) + 1
        page = list(self.memory.contents.announced)[first : first + PAGE]
        return [replace(it, cursor=str(number)) for number, it in enumerate(page, first)]


class HeartbeatsOfOneByte(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        await super().heartbeat(streams)
        seen_heartbeats = self.memory.contents.heartbeats
        seen_heartbeats.update({it: seen_heartbeats[it] % 256 for it in streams})


class HeartbeatsOfTheFirst256(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        seen_heartbeats = self.memory.contents.heartbeats
        await super().heartbeat(
            [it for n, it in enumerate(streams) if n < 256 or it not in seen_heartbeats]
        )
