"""Stores in memory that break one promise each: what the kit is there to catch."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from time import time
from typing import Any, ClassVar

from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.reader import PublishedEntry
from application.ports.store import (
    APPENDED,
    BEGINNING,
    Append,
    Appended,
    Conflict,
    Heads,
    Outcome,
)
from application.store_kit.storing import is_kept
from domain.entries import Entry
from domain.head import Head
from domain.identifiers import StreamKey
from domain.media import AudioFrame


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


class LossNotTold(InMemoryStore):
    def _head(self, stream: StreamKey) -> Head | None:
        stored = self.memory.contents.streams.get(stream)
        return None if stored is None else stored.head


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


class WithHiddenEntries(InMemoryStore):
    """Shows only what is kept, so that what it does not forget is not seen."""

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        head = await self.head(stream)
        async for it in super().read(stream, after):
            if head is not None and is_kept(it, head, after):
                yield it


class TrimsNothing(WithHiddenEntries):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for append in appends:
            append.keep_from = BEGINNING
        return await super().append(appends)


class TrimsOneTooFew(WithHiddenEntries):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for append in appends:
            if append.keep_from != BEGINNING:
                keep_from = append.keep_from
                append.keep_from = replace(keep_from, position=keep_from.position - 1)
        return await super().append(appends)


class TrimsByPositionOnly(InMemoryStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await super().append(appends)
        for append in appends:
            stored = self.memory.contents.streams[append.stream]
            kept = append.keep_from.position
            stored.entries = [it for it in stored.entries or () if it.position >= kept]
        return outcomes


class EpochGrowsWithEachCall(InMemoryStore):
    calls = count(1)

    def epoch_of(self, stream: StreamKey) -> int:
        return next(self.calls)


class OneBufferForAllCalls(InMemoryStore):
    buffer: Sequence[Sequence[Sequence[Entry]]] = ()

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        self.buffer = [[segment.entries for segment in append.segments] for append in appends]
        await asyncio.sleep(0)
        return await super().append(
            [with_entries(append, *its) for append, its in zip(appends, self.buffer, strict=True)]
        )


class HeadsOfNoneAskNobody(InMemoryStore):
    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        return await super().heads(streams) if streams else Heads(round(time() * 1_000), [])


class ClockStandsStill(InMemoryStore):
    limit_seconds = 1.0

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        return replace(await super().heads(streams), now_ms=1_700_000_000_000)


class RefusesWhatIsUnreachable(InMemoryStore):
    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        try:
            return await super().heads(streams)
        except BrokerUnavailable as error:
            raise BrokerRefused("unplugged") from error


class WaitsForEver(InMemoryStore):
    limit_seconds = 1.0

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        await asyncio.Event().wait()
        return await super().append(appends)


class WaitsForEverInAProperty(WaitsForEver):
    pass


class OwnThreadIsStuck(InMemoryStore):
    """Python waits for such a thread when it ends."""

    limit_seconds = 1.0

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        own = ThreadPoolExecutor(1)
        await asyncio.get_running_loop().run_in_executor(own, threading.Event().wait)
        return await super().append(appends)


class BlocksTheLoop(InMemoryStore):
    limit_seconds = 1.0

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        threading.Event().wait()
        return await super().append(appends)
