"""A store inside the process, for development: it is neither persistent nor shared."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic, time

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.errors import BrokerUnavailable
from application.ports.open_runs import OpenRuns
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from application.ports.store import APPENDED, Append, Conflict, Heads, Mark, Outcome, StreamStore
from application.store_kit.storing import (
    announcements_of,
    entries_of,
    without_account,
    without_entries,
)
from domain.head import Head
from domain.identifiers import StreamKey

PAGE = 500


@dataclass(slots=True)
class Stored:
    """One stream; an evicted half is None."""

    head: Head | None
    entries: list[PublishedEntry] | None
    expires_at: float


@dataclass(slots=True)
class Contents:
    """All that is stored."""

    streams: dict[StreamKey, Stored] = field(default_factory=dict)
    heartbeats: dict[StreamKey, float] = field(default_factory=dict)
    announced: deque[Announcement] = field(default_factory=lambda: deque(maxlen=100_000))


class Memory:
    """The memory that stores share. While unplugged, every call fails."""

    def __init__(self) -> None:
        self.contents = Contents()
        self.counter = count(1)
        self.epoch = 0
        self.is_plugged = True

    def plug(self, contents: Contents | None = None) -> None:
        """Accept calls again, with a copy of other contents if they are given."""
        self.contents = self.contents if contents is None else deepcopy(contents)
        self.is_plugged = True
        self.epoch += 1


class InMemoryStore(StreamStore, StreamReader, OpenRuns, Destination):
    """All ports over one dictionary."""

    def __init__(self, memory: Memory, options: DestinationOptions) -> None:
        self.memory = memory
        self.store = self.reader = self.open_runs = self
        self._expire_seconds = options.expire_seconds

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """Return the heads of streams. See `StreamStore.heads`."""
        self._contents()
        return Heads(round(time() * 1_000), [self._head(stream) for stream in streams])

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """Store appends. See `StreamStore.append`."""
        self._contents()
        return [self._append(append) for append in appends]

    def epoch_of(self, stream: StreamKey) -> int:  # noqa: ARG002  # the same for all
        """Grow whenever the memory is plugged again. See `StreamStore.epoch_of`."""
        return self.memory.epoch

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield the entries that are kept. See `StreamReader.read`."""
        stored = self._contents().streams.get(stream)
        for placed in () if stored is None else tuple(stored.entries or ()):
            if after is None or _order(after) < _order(placed):
                yield placed

    async def head(self, stream: StreamKey) -> Head | None:
        """Return the head of a stream. See `StreamReader.head`."""
        self._contents()
        return self._head(stream)

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next page. See `StreamReader.announcements`."""
        first = 0 if after is None else int(after) + 1
        return [it for it in self._contents().announced if int(it.cursor) >= first][:PAGE]

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new heartbeat. See `OpenRuns.heartbeat`."""
        heartbeats = self._contents().heartbeats
        heartbeats.update({stream: float(next(self.memory.counter)) for stream in streams})

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeats. See `OpenRuns.heartbeats`."""
        return dict(self._contents().heartbeats)

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove a stream with this heartbeat. See `OpenRuns.forget`."""
        heartbeats = self._contents().heartbeats
        if heartbeats.get(stream) == heartbeat:
            del heartbeats[stream]

    async def verify_writable(self) -> None:
        """Forget what has expired. See `Destination.verify_writable`."""
        streams, now = self._contents().streams, monotonic()
        for stream in [it for it, stored in streams.items() if stored.expires_at < now]:
            del streams[stream]

    async def advise(self, expected_bytes: int) -> Sequence[str]:  # noqa: ARG002  # the port's
        """Warn that this is not for production."""
        return ["PUBSUB_ADAPTER=in_memory: nothing leaves this process, for development only"]

    def _contents(self) -> Contents:
        if not self.memory.is_plugged:
            raise BrokerUnavailable("unplugged") from ConnectionError("the memory is unplugged")
        return self.memory.contents

    def _head(self, stream: StreamKey) -> Head | None:
        stored = self.memory.contents.streams.get(stream)
        if stored is None or stored.expires_at < monotonic():
            return None
        if stored.head is None:
            kept = stored.entries
            return without_account(kept[-1], kept[0].position) if kept else None
        return stored.head if stored.entries is not None else without_entries(stored.head)

    def _append(self, append: Append) -> Outcome:
        head = self._head(append.stream)
        if append.expected != (None if head is None else head.revision):
            return Conflict(head)
        contents = self.memory.contents
        stored = contents.streams.get(append.stream)
        entries = (stored.entries if head and stored else None) or []
        entries += entries_of(append)
        keep_from = _order(append.keep_from)
        old = next((n for n, it in enumerate(entries) if _order(it) >= keep_from), len(entries))
        del entries[:old]
        expires_at = monotonic() + self._expire_seconds
        contents.streams[append.stream] = Stored(append.head, entries, expires_at)
        for announcement in announcements_of(append):
            contents.announced.append(replace(announcement, cursor=str(next(self.memory.counter))))
        return APPENDED


def _order(of: Mark | PublishedEntry) -> tuple[int, int]:
    return of.generation, of.position


class InMemory(StoreAdapter):
    """The adapter for `PUBSUB_ADAPTER=in_memory`.

    Destinations of one adapter with one prefix share their streams.
    """

    name = "in_memory"
    is_shared = False

    def __init__(self) -> None:
        self.memories: defaultdict[str, Memory] = defaultdict(Memory)

    def grants(self, options: DestinationOptions) -> Sequence[str]:  # noqa: ARG002  # the port's
        """There is nothing to grant."""
        return []

    def connect(
        self,
        options: DestinationOptions,
        environment: Mapping[str, str],  # noqa: ARG002  # the port's
    ) -> InMemoryStore:
        """Construct a destination over the adapter's memory."""
        return InMemoryStore(self.memories[options.prefix], options)
