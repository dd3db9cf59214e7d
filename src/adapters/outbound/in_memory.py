"""A destination inside the process, for development: nothing survives it, nobody else sees it."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from time import monotonic

from application.ports.destination import (
    Destination,
    DestinationAdapter,
    DestinationOptions,
    Problem,
    Trial,
)
from application.ports.errors import BrokerUnavailable
from application.ports.open_runs import OpenRuns
from application.ports.publisher import (
    LATE_SECONDS,
    Appended,
    Batch,
    Fenced,
    Hole,
    Lease,
    Outcome,
    Reclaim,
    Reclaimed,
    StreamPublisher,
    Undecided,
    Vanished,
)
from application.ports.reader import Announcement, PublishedEvent, StreamFacts, StreamReader
from domain.account import Account, Grant, State
from domain.errors import NotAllowed
from domain.events import (
    ANEW,
    EndReason,
    GoOn,
    InteractionEnded,
    InteractionStarted,
    Opening,
    goes_on,
)
from domain.identifiers import InteractionId, StreamKey
from domain.media import MediaFormat


@dataclass(slots=True)
class _Stored:
    """One stream as it is published."""

    events: list[PublishedEvent] = field(default_factory=list)
    owner: str = ""
    run: str = ""
    interaction_id: InteractionId | None = None
    grant: Grant | None = None
    media: MediaFormat | None = None
    with_token: bool = False
    account: Account = field(default_factory=Account)
    first_kept: int = 0
    expires_at: float = 0.0
    was_reclaimed: bool = False

    @property
    def generation(self) -> int:
        return 0 if self.grant is None else self.grant.generation

    @property
    def said_at_ms(self) -> float:
        return -inf if self.grant is None else self.grant.said_at_ms

    def is_said_long_after(self, said_at_ms: int) -> bool:
        """Whether it was begun by somebody whose start was said later, for sure."""
        return self.said_at_ms > said_at_ms + LATE_SECONDS * 1_000

    @property
    def is_open(self) -> bool:
        return self.grant is not None and self.account.state is not State.ENDED

    def is_past(self, lease: Lease) -> bool:
        """Whether it was said before `lease`, and reclaimed. See `Fenced.is_past`."""
        return self.was_reclaimed and self.said_at_ms < lease.said_at_ms


@dataclass(slots=True)
class _Memory:
    """What all destinations with one prefix share."""

    streams: dict[StreamKey, _Stored] = field(default_factory=dict)
    beats: dict[StreamKey, float] = field(default_factory=dict)
    announced: deque[Announcement] = field(default_factory=lambda: deque(maxlen=100_000))
    given_up: deque[str] = field(default_factory=lambda: deque(maxlen=10_000))
    made_at: float = field(default_factory=monotonic)

    def now_ms(self) -> int:
        return round((monotonic() - self.made_at) * 1_000)

    def wipe(self) -> None:
        self.streams.clear()
        self.beats.clear()
        self.announced.clear()
        self.given_up.clear()


class InMemoryStreams(StreamPublisher, StreamReader, OpenRuns, Destination):
    """All four ports over one dictionary; `unplug` makes every call fail."""

    def __init__(self, memory: "_Memory", options: DestinationOptions) -> None:
        self._memory = memory
        self._epoch = 0
        self._said: deque[Announcement] = deque(maxlen=1_000)
        self._streams = memory.streams
        self._announced = memory.announced
        self._beats = memory.beats
        self._options = options
        self._unplugged = False

    def unplug(self) -> None:
        """Make every call fail."""
        self._unplugged = True

    def plug(self) -> None:
        """Make calls work again."""
        self._unplugged = False
        self._epoch += 1

    @property
    def publisher(self) -> "InMemoryStreams":
        """The port through which streams are published."""
        return self

    @property
    def reader(self) -> "InMemoryStreams":
        """The port through which they are read back."""
        return self

    @property
    def epoch(self) -> int:
        """Grows each time it is plugged again. See `StreamPublisher.epoch`."""
        return self._epoch

    async def begin(
        self,
        opening: Opening,
        *,
        owner: str,
        has_token: bool,
        waited_seconds: float = 0.0,
        again: bool = False,
        epoch: int | None = None,
    ) -> Grant | Undecided | Fenced:
        """Take the next generation and publish the start. See `StreamPublisher.begin`."""
        self._check_plugged(epoch)
        stored = self._streams.get(opening.stream, _Stored())
        if owner in self._memory.given_up:
            return Fenced(stored.generation)
        if stored.grant is not None and stored.owner == owner:
            return stored.grant
        if again:
            self._memory.given_up.append(owner)
            return Fenced(stored.generation)
        said_at_ms = self._memory.now_ms() - round(waited_seconds * 1_000)
        if waited_seconds >= LATE_SECONDS and stored.is_said_long_after(said_at_ms):
            return Fenced(stored.generation)
        self._streams[opening.stream] = stored
        if stored.is_open and stored.with_token and not has_token:
            raise NotAllowed("the open run was begun with a token")
        resumed = False
        if stored.is_open:
            told = goes_on(opening.continuation, stored.account.last_seq)
            if told is None:
                return Undecided()
            resumed = told and stored.media == opening.media
        if stored.is_open and not resumed:
            self._close_run(opening.stream, stored)
        account = stored.account
        if not resumed:
            account = Account(next_position=account.next_position)
            stored.with_token, stored.run = has_token, owner
        said_at_ms = round(max(said_at_ms, stored.said_at_ms))
        return self._grant(
            stored, opening, owner, stored.generation + 1, said_at_ms, account, resumed=resumed
        )

    async def reclaim(
        self, reclaims: Sequence[Reclaim], *, epoch: int | None = None
    ) -> Sequence[Reclaimed]:
        """Go on with streams that were forgotten. See `StreamPublisher.reclaim`."""
        self._check_plugged(epoch)
        return [self._reclaim(wish) for wish in reclaims]

    def _reclaim(self, wish: Reclaim) -> Reclaimed:
        stream = wish.lease.stream
        stored = self._streams.get(stream)
        if stored is None or stored.grant is None:
            stored = self._streams[stream] = _Stored(with_token=wish.has_token, run=wish.run)
            return self._grant(
                stored, wish.opening, wish.owner, wish.above + 1, wish.lease.said_at_ms,
                resumed=True, is_reclaim=True,
            )  # fmt: skip
        if stored.owner == wish.owner:
            return stored.grant
        is_later = (
            stored.generation >= wish.lease.generation or stored.said_at_ms > wish.lease.said_at_ms
        )
        is_ours = stored.owner in (wish.lease.owner, wish.predecessor)
        is_not_last = stored.generation > wish.above or (is_later and not is_ours)
        if is_not_last and not stored.is_past(wish.lease):
            return Fenced(stored.generation)
        resumed = stored.is_open and stored.run == wish.run
        if stored.is_open and not resumed:
            self._close_run(stream, stored)
        account = stored.account
        if not resumed:
            account = Account(next_position=account.next_position)
            stored.with_token, stored.run = wish.has_token, wish.run
        generation = max(stored.generation, wish.above) + 1
        return self._grant(
            stored, wish.opening, wish.owner, generation, wish.lease.said_at_ms, account,
            resumed=resumed, is_reclaim=True,
        )  # fmt: skip

    async def announce_again(self) -> None:
        """Announce what is not known any more. See `StreamPublisher.announce_again`."""
        self._check_plugged()
        known = {said.event_id for said in self._announced}
        self._announced.extend(
            replace(said, cursor=str(self._next_cursor() + i))
            for i, said in enumerate(
                it for it in self._said if it.event_id not in known and self._has(it)
            )
        )

    def _has(self, said: Announcement) -> bool:
        kind = InteractionEnded if said.has_ended else InteractionStarted
        return any(
            it.generation == said.generation and isinstance(it.event, kind)
            for it in self._streams.get(said.stream, _Stored()).events
        )

    def _grant(
        self,
        stored: _Stored,
        opening: Opening,
        owner: str,
        generation: int,
        said_at_ms: int,
        account: Account | None = None,
        *,
        resumed: bool,
        is_reclaim: bool = False,
    ) -> Grant:
        account = replace(account or Account(), state=State.LIVE)
        grant = Grant(generation, resumed, account, stored.run, said_at_ms)
        started = InteractionStarted(
            account.next_position,
            grant.generation,
            resumed,
            replace(opening, continuation=GoOn() if resumed else ANEW),
            stored.run,
        )
        stored.events.append(PublishedEvent(grant.generation, started))
        stored.owner, stored.grant, stored.media = owner, grant, opening.media
        stored.was_reclaimed = is_reclaim
        stored.account = replace(account, next_position=account.next_position + 1)
        self._touch(stored)
        self._announce(opening.stream, grant.generation, started)
        return grant

    async def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Publish a batch of each stream. See `StreamPublisher.append`."""
        self._check_plugged()
        return [self._append(batch) for batch in batches]

    async def read(
        self, stream: StreamKey, after: PublishedEvent | None = None
    ) -> AsyncIterator[PublishedEvent]:
        """Yield what is kept. See `StreamReader.read`."""
        self._check_plugged()
        stored = self._streams.get(stream)
        first = 0 if after is None else after.event.position + 1
        for published in () if stored is None else tuple(stored.events):
            if published.event.position >= first:
                yield published

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return all that is kept behind the cursor. See `StreamReader.announcements`."""
        self._check_plugged()
        first = 0 if after is None else int(after) + 1
        return [said for said in self._announced if int(said.cursor) >= first]

    async def facts(self, stream: StreamKey) -> StreamFacts | None:
        """Return the facts. See `StreamReader.facts`."""
        self._check_plugged()
        stored = self._streams.get(stream)
        if stored is None:
            return None
        return StreamFacts(stored.generation, stored.account, stored.first_kept)

    @property
    def open_runs(self) -> "InMemoryStreams":
        """The port that knows which runs nobody tends."""
        return self

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new beat. See `OpenRuns.tend`."""
        self._check_plugged()
        for stream in streams:
            self._beats[stream] = self._beats.get(stream, 0.0) + 1

    async def beats(self) -> Mapping[StreamKey, float]:
        """Return the last beats. See `OpenRuns.beats`."""
        self._check_plugged()
        return dict(self._beats)

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:
        """End the run of a process that is gone. See `OpenRuns.end_untended`."""
        self._check_plugged()
        if self._beats.get(stream) != beat:
            return False
        del self._beats[stream]
        stored = self._streams.get(stream)
        if stored is None or not stored.is_open:
            return False
        self._close_run(stream, stored, recovered=True)
        stored.owner = ""
        return True

    async def close(self) -> None:
        """Nothing to let go of."""

    async def verify_writable(self) -> None:
        """Memory takes writes unless unplugged."""
        self._check_plugged()

    async def advise(self, expected_bytes: int) -> Sequence[str]:  # noqa: ARG002  # the port's
        """Warn that this is not for production."""
        return ["PUBSUB_ADAPTER=in_memory: nothing leaves this process, for development only"]

    def _append(self, batch: Batch) -> Outcome:
        stored = self._streams.get(batch.lease.stream)
        if stored is None:
            return Vanished()
        if (stored.generation, stored.owner) != (batch.lease.generation, batch.lease.owner):
            stands, is_past = _stands(stored, batch.lease), stored.is_past(batch.lease)
            return Fenced(stored.generation, stands, is_past)
        next_position = stored.account.next_position
        if batch.first_position > next_position:
            return Hole(next_position)
        after = batch.first_position + len(batch.events)
        if after < next_position or (after == next_position and batch.events):
            return Appended(next_position)
        if not stored.is_open:
            is_the_account = not batch.events and batch.account.state is State.ENDED
            return Appended(next_position) if is_the_account else Fenced(stored.generation)
        new = batch.events[next_position - batch.first_position :]
        stored.events += [PublishedEvent(stored.generation, event) for event in new]
        stored.account = batch.account
        stored.first_kept = max(stored.first_kept, batch.keep_from.position)
        del stored.events[: _count_below(stored.events, stored.first_kept)]
        self._touch(stored)
        for event in new:
            if isinstance(event, InteractionEnded):
                self._announce(batch.lease.stream, stored.generation, event)
        return Appended(stored.account.next_position)

    def _announce(
        self, stream: StreamKey, generation: int, event: InteractionStarted | InteractionEnded
    ) -> None:
        stored = self._streams[stream]
        if isinstance(event, InteractionStarted):
            stored.interaction_id = event.opening.interaction_id
        if stored.interaction_id is None:
            raise AssertionError("a stream starts before it ends")
        if stored.grant is None:
            raise AssertionError("a stream is granted before it is announced")
        said = Announcement(
            cursor=str(self._next_cursor()),
            event_id=f"{stream}/{generation}-{event.position}",
            has_ended=isinstance(event, InteractionEnded),
            stream=stream,
            interaction_id=stored.interaction_id,
            generation=generation,
            position=event.position,
            run=stored.run,
            resumed=stored.grant.resumed,
        )
        self._announced.append(said)
        self._said.append(said)

    def _next_cursor(self) -> int:
        return int(self._announced[-1].cursor) + 1 if self._announced else 0

    def _close_run(self, stream: StreamKey, stored: _Stored, *, recovered: bool = False) -> None:
        position = stored.account.next_position
        ledger = stored.account.ledger
        ended = InteractionEnded(position, EndReason.DISCONNECTED, ledger, recovered)
        stored.events.append(PublishedEvent(stored.generation, ended))
        self._announce(stream, stored.generation, ended)
        stored.account = replace(stored.account, next_position=position + 1, state=State.ENDED)

    def _check_plugged(self, epoch: int | None = None) -> None:
        if self._unplugged:
            raise BrokerUnavailable("unplugged") from ConnectionError("the plug was pulled")
        if epoch not in (None, self._epoch):
            raise BrokerUnavailable("it was plugged anew")
        self._forget_expired()

    def _touch(self, stored: _Stored) -> None:
        stored.expires_at = monotonic() + self._options.expire_seconds

    def _forget_expired(self) -> None:
        now = monotonic()
        for key in [key for key, stored in self._streams.items() if 0 < stored.expires_at < now]:
            del self._streams[key]


def _stands(stored: _Stored, lease: Lease) -> int:
    """Return the position behind the last frame that was written under a lease."""
    if stored.owner and stored.generation <= lease.generation:  # another beginning
        return 0
    own = [
        it.event.position + (not isinstance(it.event, InteractionEnded))  # it may be another's
        for it in stored.events
        if it.generation == lease.generation
    ]
    return max([stored.first_kept, *own])


def _count_below(events: list[PublishedEvent], position: int) -> int:
    first = events[0].event.position if events else position
    return min(max(0, position - first), len(events))


class _InMemoryTrial(Trial):
    def __init__(self, adapter: "InMemory") -> None:
        self._adapter = adapter

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    async def unplug(self) -> None:
        for destination in self._adapter.connected:
            destination.unplug()

    async def plug(self) -> None:
        for destination in self._adapter.connected:
            destination.plug()

    async def wipe(self) -> None:
        for memory in self._adapter.memories.values():
            memory.wipe()


class InMemory(DestinationAdapter):
    """What the container registers; `PUBSUB_ADAPTER=in_memory`.

    Destinations of one adapter share their streams, as processes share a broker.
    """

    name = "in_memory"
    is_shared = False
    variables = ()

    def __init__(self) -> None:
        self.memories: defaultdict[str, _Memory] = defaultdict(_Memory)
        self.connected: list[InMemoryStreams] = []

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002  # the port's
        """There is nothing to set."""
        return []

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002  # the port's
        """There is nothing to show."""
        return {}

    def grants(self, options: DestinationOptions) -> Sequence[str]:  # noqa: ARG002  # the port's
        """There is nothing to grant."""
        return []

    def connect(
        self,
        options: DestinationOptions,
        environment: Mapping[str, str],  # noqa: ARG002  # the port's
    ) -> InMemoryStreams:
        """Construct a destination over the adapter's streams."""
        destination = InMemoryStreams(self.memories[options.prefix], options)
        self.connected.append(destination)
        return destination

    @asynccontextmanager
    async def trial(self) -> AsyncIterator[Trial]:
        """Start empty."""
        self.memories.clear()
        self.connected.clear()
        yield _InMemoryTrial(self)
