"""The way of one stream's events to the destination: in order, in bounded batches.

Events wait in an open batch. It is closed when it is full, or when the publication loop takes it;
at that moment every frame that the interaction has accepted is in this batch or an earlier one,
so the interaction's account is exactly the account after the batch. One batch is under way at a
time. Whatever ends the publication of the stream is kept in `failure`; events put after it are
held, and counted by `forget_unconfirmed`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from application.ports.clock import Clock
from application.ports.publisher import (
    Appended,
    Batch,
    Failed,
    Fenced,
    Hole,
    Lease,
    Mark,
    Outcome,
    Vanished,
)
from application.retention import Retention
from domain.events import AudioAccepted, Event, SignalReceived
from domain.interaction import Account, Interaction

BATCH_EVENTS = 128
BATCH_BYTES = 512 * 1024
"""A batch is one call of the broker, which serves nobody else meanwhile: about a millisecond."""

WINDOW_EVENTS = 1_024
WINDOW_BYTES = 1024 * 1024
"""Unconfirmed events and audio of one stream at which its sender is no longer read."""

SHARED_WINDOW_BYTES = 256 * 1024 * 1024
"""The same for the audio of all streams together."""

Failure = Fenced | Hole | Vanished | Failed


def _size(event: Event) -> int:
    """Bytes of what the sender said in an event: audio, or the details of a signal."""
    if isinstance(event, AudioAccepted):
        return len(event.frame.audio)
    return len(event.details) if isinstance(event, SignalReceived) else 0


class PublicationListener(Protocol):
    """Whoever owns the stream and wants to know what became of its events."""

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """`frames` more are published; `last_seq` is the highest seq published by now."""
        ...

    def on_failure(self, failure: Failure) -> None:
        """Nothing more will be published under this lease."""
        ...


@dataclass(slots=True)
class _Open:
    """The batch that still takes events; `received_at` are monotonic seconds, one a frame."""

    events: list[Event] = field(default_factory=list)
    received_at: list[float] = field(default_factory=list)
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Closed:
    batch: Batch
    received_at: list[float]
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Unconfirmed frames that were dropped: published after all, or lost."""

    published_frames: int
    lost_frames: int
    lost_bytes: int


class SharedWindow:
    """The unconfirmed audio of all streams of the process, which is bounded too."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self._on_change = on_change
        self._held_bytes = 0
        self._room = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether no sender must be read until something is confirmed."""
        return self._held_bytes >= SHARED_WINDOW_BYTES

    def add(self, held_bytes: int) -> None:
        """Note that there is more, or less when negative."""
        self._held_bytes += held_bytes
        self._on_change(self._held_bytes)
        if not self.is_full:
            self._room.set()

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()


class Outbox:
    """The unconfirmed events of one stream, from the interaction to the publication loop."""

    def __init__(
        self,
        interaction: Interaction,
        lease: Lease,
        clock: Clock,
        *,
        retention: Retention,
        on_work: Callable[["Outbox"], None],
        shared: SharedWindow,
        on_published: Callable[[list[float]], None],
    ) -> None:
        self._interaction = interaction
        self._lease = lease
        self._clock = clock
        self._retention = retention
        self._on_work = on_work
        self._shared = shared
        self._on_published = on_published
        self._listener: PublicationListener | None = None
        self._open = _Open()
        self._published = interaction.account
        self._open_position = self._published.next_position
        self._closed: deque[_Closed] = deque()
        self._under_way: _Closed | None = None
        self._account_due = False
        self._events = 0
        self._held_bytes = 0
        self._failure: Failure | None = None
        self._holds = 0
        self._change = asyncio.Event()

    @property
    def lease(self) -> Lease:
        """The right under which the events are published."""
        return self._lease

    @property
    def retention(self) -> Retention:
        """The ages of the stream's positions."""
        return self._retention

    @property
    def failure(self) -> Failure | None:
        """What ended the publication, None while it goes on."""
        return self._failure

    @property
    def published(self) -> Account:
        """The run as of the last confirmation."""
        return self._published

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read until something is confirmed."""
        return self._holds > 0 or self._is_full_itself or self._shared.is_full

    @property
    def _is_full_itself(self) -> bool:
        return self._events >= WINDOW_EVENTS or self._held_bytes >= WINDOW_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far is published."""
        return not (self._events or self._account_due or self._under_way)

    def listen(self, listener: PublicationListener | None) -> None:
        """Tell `listener`, and nobody else, what becomes of the events."""
        self._listener = listener

    def put(self, events: tuple[Event, ...], received_at: float) -> None:
        """Add the events of one verb of the interaction, heard at monotonic `received_at`."""
        open_batch = self._open
        for event in events:
            open_batch.events.append(event)
            size = _size(event)
            if isinstance(event, AudioAccepted):
                open_batch.received_at.append(received_at)
            if size:
                open_batch.held_bytes += size
                self._held_bytes += size
                self._shared.add(size)
        self._events += len(events)
        if len(open_batch.events) >= BATCH_EVENTS or open_batch.held_bytes >= BATCH_BYTES:
            self._close_open()
        self._on_work(self)

    def put_account(self) -> None:
        """Have the interaction's account published although there is no event for it."""
        self._account_due = True
        self._on_work(self)

    def take(self) -> Batch | None:
        """Return the next batch to publish; None when there is none or one is under way."""
        if self._under_way is not None or self._failure is not None:
            return None
        if not self._closed and (self._open.events or self._account_due):
            self._close_open()
        if not self._closed:
            return None
        self._under_way = self._closed.popleft()
        return self._under_way.batch

    def settle(self, outcome: Outcome) -> None:
        """Take note of what became of the batch under way."""
        closed, self._under_way = self._under_way, None
        if closed is None:
            return
        if isinstance(outcome, Appended):
            self._confirm(closed)
        else:
            self._closed.appendleft(closed)
            self._fail(outcome)

    def hold(self) -> None:
        """Have the sender not read: its stream is about to be taken over."""
        self._holds += 1

    def release(self) -> None:
        """Undo one `hold`: the sender is read again when none is left."""
        self._holds -= 1
        self._change.set()

    def supersede(self, generation: int) -> None:
        """Stop publishing: a newer generation holds the stream."""
        self._fail(Fenced(generation))

    async def wait_for_room(self) -> None:
        """Wait until the sender may be read again, or nothing more will be published."""
        while self._failure is None and self.is_full:
            if self._holds > 0 or self._is_full_itself:
                await self._wait_for_change()
            else:
                await self._shared.wait_for_room()

    async def wait_until_empty(self) -> None:
        """Wait until everything put so far is published, or nothing more will be."""
        while not self.is_empty and self._failure is None:
            await self._wait_for_change()

    async def wait_until_fenced(self) -> None:
        """Wait until a newer generation holds the stream."""
        while not isinstance(self._failure, Fenced):
            await self._wait_for_change()

    def forget_unconfirmed(self, published: Account) -> Forgotten:
        """Drop all events and take up publishing again after `published`."""
        unsettled = [*self._closed] if self._under_way is None else [self._under_way, *self._closed]
        events = [event for closed in unsettled for event in closed.batch.events]
        events += self._open.events
        frames = [event for event in events if isinstance(event, AudioAccepted)]
        lost = [event for event in frames if event.position >= published.next_position]
        self._shared.add(-self._held_bytes)
        self._open, self._events, self._held_bytes = _Open(), 0, 0
        self._published = published
        self._open_position = published.next_position
        self._closed.clear()
        self._under_way = None
        self._account_due = False
        self._failure = None
        return Forgotten(
            published_frames=len(frames) - len(lost),
            lost_frames=len(lost),
            lost_bytes=sum(len(event.frame.audio) for event in lost),
        )

    def _close_open(self) -> None:
        account = self._interaction.account
        self._closed.append(
            _Closed(
                Batch(
                    self._lease,
                    self._interaction.opening.interaction_id,
                    self._open_position,
                    self._open.events,
                    account,
                    self._retention.first_to_keep(
                        self._clock.monotonic(),
                        Mark(self._lease.generation, account.next_position),
                    ),
                ),
                self._open.received_at,
                self._open.held_bytes,
            )
        )
        self._open = _Open()
        self._open_position = account.next_position
        self._account_due = False

    def _confirm(self, closed: _Closed) -> None:
        self._published = closed.batch.account
        self._events -= len(closed.batch.events)
        self._held_bytes -= closed.held_bytes
        self._shared.add(-closed.held_bytes)
        self._on_published(closed.received_at)
        self._change.set()
        if self._listener is not None:
            self._listener.on_confirmed(len(closed.received_at), closed.batch.account.last_seq)

    def _fail(self, failure: Failure) -> None:
        is_worse = isinstance(failure, Fenced) and not isinstance(self._failure, Fenced)
        if self._failure is None or is_worse:
            self._failure = failure
            self._change.set()
            if self._listener is not None:
                self._listener.on_failure(failure)

    async def _wait_for_change(self) -> None:
        self._change.clear()
        await self._change.wait()
