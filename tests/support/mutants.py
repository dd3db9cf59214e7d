"""Adapters that break one promise each: what the kit is there to catch."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.ports.destination import DestinationOptions, StoreAdapter
from application.ports.errors import PublisherError
from application.ports.reader import Announcement, PublishedEntry
from application.ports.store import (
    APPENDED,
    BEGINNING,
    Append,
    Appended,
    Conflict,
    Heads,
    Outcome,
)
from domain.entries import Entry
from domain.head import Head
from domain.identifiers import StreamKey
from domain.media import AudioFrame
from file_store import FileStore


class MutantInMemory(InMemory):
    """Connects to a mutant over a memory."""

    store: ClassVar[type[InMemoryStore]] = InMemoryStore

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> InMemoryStore:
        return self.store(self.memories[options.prefix], options)


class SharedInItsProcess(MutantInMemory):
    """Says that it is shared, and keeps all in its process."""

    is_shared = True

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedInItsProcess, ()


def with_entries(append: Append, *entries: Sequence[Entry]) -> Append:
    """Return an append with other entries."""
    segments = [
        replace(segment, entries=tuple(its))
        for segment, its in zip(append.segments, entries, strict=True)
    ]
    return Append(append.stream, append.expected, segments, append.head, append.keep_from)


class LosesOneInThreeOnARetry(InMemoryStore):
    failed = False

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        if self.failed:
            appends = [
                with_entries(
                    it, *([e for n, e in enumerate(s.entries) if n % 3 != 2] for s in it.segments)
                )
                for it in appends
            ]
        try:
            outcomes = await super().append(appends)
        except PublisherError:
            self.failed = True
            raise
        self.failed = False
        return outcomes


class FirstFrameOfAnother(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        audio, changed = b"", []
        for append in appends:
            entries = [list(segment.entries) for segment in append.segments]
            for its in entries:
                if its and isinstance(its[0], AudioFrame):
                    audio = audio or its[0].audio
                    its[0] = replace(its[0], audio=audio)
            changed.append(with_entries(append, *entries))
        return await super().append(changed)


class AlwaysWritable(InMemoryStore):
    async def verify_writable(self) -> None:
        pass


class SecondPageEmpty(InMemoryStore):
    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        return await super().announcements() if after is None else []


class RevisionIgnored(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        heads = (await self.heads([it.stream for it in appends])).heads
        for append, head in zip(appends, heads, strict=True):
            append.expected = head.revision if isinstance(head, Head) else None
        return await super().append(appends)


class StoredTwice(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await super().append(appends)
        for append, outcome in zip(appends, outcomes, strict=True):
            if isinstance(outcome, Conflict) and outcome.head == append.head:
                self.memory.contents.streams[append.stream].head = None
                again = Append(append.stream, None, append.segments, append.head)
                again.expected = getattr(await self.head(append.stream), "revision", None)
                await super().append([again])
        return outcomes


class EntriesBeforeTheirHead(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        heads = (await self.heads([it.stream for it in appends])).heads
        outcomes = await super().append(appends)
        for append, head, outcome in zip(appends, heads, outcomes, strict=True):
            if outcome == Appended() and isinstance(head, Head):
                self.memory.contents.streams[append.stream].head = head
                await asyncio.sleep(0)
                self.memory.contents.streams[append.stream].head = append.head
        return outcomes


class EndsNotAnnounced(InMemoryStore):
    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        return [it for it in await super().announcements(after) if not it.has_ended]


class AnnouncedTooLate(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        announced = self.memory.contents.announced
        before = len(announced)
        outcomes = await super().append(appends)
        late = [announced.pop() for _ in range(len(announced) - before)]
        await asyncio.sleep(0)
        announced.extend(reversed(late))
        return outcomes


class EpochStays(InMemoryStore):
    def epoch_of(self, stream: StreamKey) -> int:
        return 0


class HeadsInAnyOrder(InMemoryStore):
    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        return await super().heads(sorted(streams, key=str))


class GenerationOfTheHead(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for append in appends:
            append.segments = [
                replace(segment, generation=append.head.lease.generation)
                for segment in append.segments
            ]
        return await super().append(appends)


class TrimsOneTooMany(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for append in appends:
            if append.keep_from != BEGINNING:
                keep_from = append.keep_from
                append.keep_from = replace(keep_from, position=keep_from.position + 1)
        return await super().append(appends)


class NamesWithoutCase(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for append in appends:
            append.stream = _lower(append.stream)
        return [(await super(NamesWithoutCase, self).append([it]))[0] for it in appends]

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        return await super().heads([_lower(stream) for stream in streams])

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        async for it in super().read(_lower(stream), after):
            yield it


def _lower(stream: StreamKey) -> StreamKey:
    return StreamKey(stream.tenant_id, type(stream.stream_id)(stream.stream_id.lower()))


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


class AfterIgnored(InMemoryStore):
    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        async for it in super().read(stream):
            yield it


class LossNotTold(InMemoryStore):
    def _head(self, stream: StreamKey) -> Head | None:
        stored = self.memory.contents.streams.get(stream)
        return None if stored is None else stored.head


class HeartbeatStays(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        new = [it for it in streams if it not in self.memory.contents.beats]
        await super().heartbeat(new)


class ForgetsAnyHeartbeat(InMemoryStore):
    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        self.memory.contents.beats.pop(stream, None)


class HeartbeatOfNoneIsNothing(InMemoryStore):
    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        if streams:
            await super().heartbeat(streams)


class AppendedWithoutStoring(InMemoryStore):
    """Answers at once and stores later."""

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await super().append(appends)
        for append, outcome in zip(appends, outcomes, strict=True):
            if outcome == APPENDED:
                stored = self.memory.contents.streams[append.stream]
                asyncio.get_running_loop().call_later(
                    0.05, setattr, stored, "entries", stored.entries
                )
                stored.entries = []
        return outcomes


class MutantFileStore(StoreAdapter):
    """Connects to a mutant over files."""

    name = "mutant"
    is_shared = True
    store: ClassVar[type[FileStore]] = FileStore

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> FileStore:
        return self.store(Path(environment["FILE_STORE_PATH"]), options)


class StreamsWaitForOneAnother(FileStore):
    def __init__(self, root: Path, options: DestinationOptions) -> None:
        super().__init__(root, options)
        self.lock = asyncio.Lock()

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        async with self.lock:
            return await super().append(appends)


class WritableWhereReadable(FileStore):
    async def verify_writable(self) -> None:
        await self.heads([])
