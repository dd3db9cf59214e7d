"""A broker that is a list of past values, and loses what it had or what it is sent."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar, cast

from application.ports.clock import Clock
from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable
from application.ports.open_runs import OpenRuns
from application.ports.reader import StreamReader
from application.ports.store import Append, Appended, Conflict, Heads, Outcome, StreamStore
from domain.entries import Entry, Started
from domain.head import Head
from domain.identifiers import StreamKey

T = TypeVar("T")
REWIND_SECONDS = 5.0


@dataclass(frozen=True)
class Stored:
    """All that the broker has of the stream at one moment: its head, and (generation, entry)."""

    head: Head | None = None
    entries: tuple[tuple[int, Entry], ...] = ()


class Broker:
    """Keeps its past, so that it can come back as it was; `past` is of this life only."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now = Stored()
        self.past: list[tuple[float, Stored]] = [(-math.inf, self.now)]
        self.epoch = 0
        self.is_down = False
        self.mistakes: list[str] = []
        self.heartbeats_of: dict[StreamKey, float] = {}
        self.next_heartbeat = count()
        self.has_lost = False
        self.has_unanswered_start = False
        self.seconds = 0.0
        """How long each of its answers takes."""

    def of(self, stream: StreamKey) -> "Broker":  # noqa: ARG002  # for `Brokers`
        return self

    def store(self, stored: Stored) -> None:
        self.now = stored
        self.past.append((self.clock.monotonic(), stored))

    def covered(self) -> list[int]:
        """Which moments of the past lie within what the rewind covers."""
        oldest = self.clock.monotonic() - REWIND_SECONDS
        return [
            i
            for i in range(len(self.past))
            if i + 1 == len(self.past) or self.past[i + 1][0] > oldest
        ]

    def come_back_as(self, moment: int) -> None:
        self.has_lost |= self.past[moment][1] is not self.now
        del self.past[moment + 1 :]
        self.now = self.past[-1][1]
        self.epoch += 1

    def wipe(self) -> None:
        self.has_lost = True
        self.past = [(-math.inf, Stored())]
        self.come_back_as(0)

    def evict_entries(self) -> None:
        head = self.now.head
        if head is not None and not (head.entries_lost or head.account_lost):
            lost = replace(head, revision=f"lost!{head.revision}", entries_lost=True)
            self.store(Stored(lost))

    def append(self, append: Append) -> Outcome:
        now = self.now
        revision = None if now.head is None else now.head.revision
        if revision != append.expected:
            return Conflict(now.head)
        entries = [] if now.head is None or now.head.entries_lost else list(now.entries)
        first_kept = append.head.first_kept
        position = now.head.next_position if now.head is not None else 0
        if now.head is not None and now.head.entries_lost and append.segments:
            position = append.segments[0].first_position
        generation = 0 if not entries else entries[-1][0]
        for segment in append.segments:
            generation = segment.generation
            for entry in segment.entries:
                if isinstance(entry, Started):
                    generation = entry.generation
                entries.append((generation, entry))
            position += len(segment.entries)
            self._check(position == segment.account.next_position, "positions are not dense")
        self._check(position == append.head.next_position, "the head is not after the entries")
        self._check(first_kept <= append.head.next_position, "trimmed too far")
        self.store(Stored(append.head, tuple(entries)))
        return Appended()

    def _check(self, holds: bool, what: str) -> None:
        """Note what no writer may ever ask for."""
        if not holds:
            self.mistakes.append(what)


class Brokers(Broker):
    """One broker of many streams: each has a past of its own, all share what else there is."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.streams: dict[StreamKey, Broker] = {}

    def of(self, stream: StreamKey) -> Broker:
        return self.streams.setdefault(stream, Broker(self.clock))


class Connection(StreamStore, OpenRuns, Destination):
    """One process's way to the broker. `faults` are met by its next appends, one each."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.faults: list[str] = []
        self.before_append: Callable[[], None] | None = None
        self._noticed = 0
        self.store = self.open_runs = self
        self.reader = cast("StreamReader", None)  # nothing is read here

    def epoch_of(self, stream: StreamKey) -> int:  # noqa: ARG002  # the port's
        return self._noticed

    async def close(self) -> None:
        raise NotImplementedError

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        raise NotImplementedError

    async def verify_writable(self) -> None:
        self._reach()

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        self._reach()
        for stream in streams:
            self.broker.heartbeats_of[stream] = next(self.broker.next_heartbeat)

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        self._reach()
        return dict(self.broker.heartbeats_of)

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        self._reach()
        if self.broker.heartbeats_of.get(stream) == heartbeat:
            del self.broker.heartbeats_of[stream]

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        await asyncio.sleep(self.broker.seconds)
        self._reach()
        heads = [self.broker.of(stream).now.head for stream in streams]
        return Heads(self.broker.clock.epoch_ms(), heads)

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        sent = [
            replace(
                append,
                segments=[replace(it, entries=tuple(it.entries)) for it in append.segments],
            )
            for append in appends
        ]
        if self.before_append is not None:
            act, self.before_append = self.before_append, None
            act()
        return await self._call(lambda: [self.broker.of(it.stream).append(it) for it in sent])

    async def _call(self, write: Callable[[], T]) -> T:
        fault = self.faults.pop(0) if self.faults and not self.broker.is_down else ""
        await asyncio.sleep(self.broker.seconds)
        self._reach()
        if fault == "lost":
            self._lose_connection()
        if fault == "late":
            asyncio.get_running_loop().call_later(6.0, self._write_late, write)
            await asyncio.Event().wait()
        answer = write()
        if fault == "answer lost":
            self._lose_connection()
        return answer

    def _write_late(self, write: Callable[[], object]) -> None:
        if not self.broker.is_down:
            write()

    def _reach(self) -> None:
        if self.broker.is_down:
            raise BrokerUnavailable("down")
        self._noticed = max(self._noticed, self.broker.epoch)

    def _lose_connection(self) -> None:
        self.broker.epoch += 1
        raise BrokerUnavailable("the connection was lost")
