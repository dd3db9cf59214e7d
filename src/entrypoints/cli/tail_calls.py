"""Follows announcements, and each stream that they name, for `rtaa-ingest tail`."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from application.backoff import Backoff
from application.overview.call import STILL_SECONDS
from application.ports.clock import Clock
from application.ports.destination import WHOLE
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.reader import Announcement, Newest, PublishedEntry, StreamReader
from domain.account import State
from domain.entries import Ended, Gap, Started
from domain.events import Opening
from domain.head import Head
from domain.identifiers import StreamKey
from domain.media import AudioFrame
from entrypoints.cli.tail_lines import TailLines

POLL_SECONDS = 0.25
PROGRESS_MS = 5_000
"""How much audio of a call one line covers."""

MAX_AWAY_SECONDS = 1.0
"""How long to wait at most before a broker that cannot be read is tried again."""

ASK_HEAD_POLLS = 240
"""After which silence the existence of a stream is checked: a minute."""

MAX_OVER = 10_000
"""How many runs that are over are remembered: their announcements may come later, or again."""

TELL_FIRST_SECONDS, TELL_FACTOR = 3.0, 2.0
"""A stall or an outage is printed after this time, and again when it has doubled."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filter of calls; None: any."""

    tenant: str | None = None
    interaction: str | None = None
    dialect: str | None = None

    def take(self, announced: Announcement) -> bool:
        """Return whether a call may match, as far as its announcement shows."""
        return (
            self.tenant in (None, announced.stream.tenant_id)
            and self.interaction in (None, announced.interaction_id)
        )  # fmt: skip

    def take_opening(self, opening: Opening) -> bool:
        """Return whether a call that has begun like this matches."""
        return (
            self.dialect in (None, opening.dialect)
            and self.interaction in (None, opening.interaction_id)
        )  # fmt: skip


@dataclass(slots=True)
class _Followed:
    """The state of a live call's reader, with audio that is not yet printed.

    `run` is the run that is read. `moved_at` is the monotonic time of its last frame; a stall is
    printed at `tell_still_after`.
    """

    run: str
    moved_at: float
    last: PublishedEntry | None = None
    untold_frames: int = 0
    untold_ms: int = 0
    quiet_polls: int = 0
    tell_still_after: float = TELL_FIRST_SECONDS
    is_told_still: bool = False
    is_told_unread: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether the last entry read is an end."""
        return self.last is not None and isinstance(self.last.entry, Ended)


class Tail:
    """Follows announcements and the streams they name."""

    def __init__(
        self, reader: StreamReader, clock: Clock, lines: TailLines, filters: Filters
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._lines = lines
        self._filters = filters
        self._cursor: str | None = None
        self._live: dict[StreamKey, _Followed] = {}
        self._over: dict[tuple[StreamKey, str], None] = {}
        self._is_listed = False
        self._backoff = Backoff(POLL_SECONDS, MAX_AWAY_SECONDS)
        self._heard_at = clock.monotonic()
        self._tell_away_after: float | None = None

    async def run(self, *, once: bool) -> None:
        """Print for ever, or `once` only what is live now.

        Raises:
            PublisherError: the store could not be read, `once`.

        """
        while not (once and self._is_listed):
            try:
                await self._round()
                self._backoff.reset()
                await asyncio.sleep(0 if once else POLL_SECONDS)
            except PublisherError as error:
                if once:
                    raise
                self._note_away(error)
                await asyncio.sleep(self._backoff.note_failure())

    async def _round(self) -> None:
        if not self._is_listed:
            await self._list_live()
            self._is_listed = True
            self._note_heard()
            return
        await self._hear_announcements()
        self._note_heard()
        parts_away: set[str] = set()
        for key, followed in list(self._live.items()):
            if self._reader.part_of(key) in parts_away:
                continue
            try:
                await self._read_on(key, followed)
                followed.is_told_unread = False
                self._heard_at = self._clock.monotonic()
            except PublisherError as error:
                self._tell_unread(key, followed, error)
                if isinstance(error, BrokerUnavailable):
                    parts_away.add(self._reader.part_of(key))

    def _tell_unread(self, key: StreamKey, followed: _Followed, error: PublisherError) -> None:
        """Print once that a stream cannot be read, while others can.

        Raises:
            PublisherError: the store has one part, and is away.

        """
        if isinstance(error, BrokerUnavailable) and self._reader.part_of(key) == WHOLE.name:
            raise error
        if not followed.is_told_unread:
            followed.is_told_unread = True
            self._lines.unread(key, str(error))

    def _note_away(self, error: PublisherError) -> None:
        seconds = self._clock.monotonic() - self._heard_at
        if self._tell_away_after is None or seconds >= self._tell_away_after:
            self._lines.away(seconds, str(error))
            self._tell_away_after = max(TELL_FIRST_SECONDS, seconds * TELL_FACTOR)

    def _note_heard(self) -> None:
        """Note that the broker answers; the time before does not count as a stall."""
        now = self._clock.monotonic()
        if self._tell_away_after is not None:
            self._lines.back(now - self._heard_at)
            self._tell_away_after = None
            for followed in self._live.values():
                followed.moved_at = max(followed.moved_at, now)
        self._heard_at = now

    async def _list_live(self) -> None:
        open_streams: dict[StreamKey, Announcement] = {}
        cursor: str | None = None
        while page := await self._reader.announcements(cursor):
            for announced in page:
                before = open_streams.get(announced.stream)
                if not announced.has_ended:
                    open_streams.pop(announced.stream, None)
                    if self._filters.take(announced):
                        open_streams[announced.stream] = announced
                elif before is not None and before.run == announced.run:
                    del open_streams[announced.stream]
            cursor = page[-1].cursor
        listed = 0
        for announced, newest in await self._ask_newest(open_streams.values()):
            key = announced.stream
            if isinstance(newest, PublisherError):
                self._live[key] = followed = self._from(announced)
                self._tell_unread(key, followed, newest)
            elif newest is not None and newest.head.account.state is not State.ENDED:
                run = newest.head.run
                if run is None or self._filters.take_opening(run.opening):
                    self._live[key] = self._list(key, newest, announced.run)
                    listed += 1
        self._cursor = cursor
        self._lines.list_is_over(listed)

    async def _ask_newest(
        self, streams: Iterable[Announcement]
    ) -> list[tuple[Announcement, Newest | PublisherError | None]]:
        """Return the newest state of streams, or the error; ask a part that is away only once.

        Raises:
            PublisherError: the store has one part, and is away.

        """
        found: list[tuple[Announcement, Newest | PublisherError | None]] = []
        away: dict[str, PublisherError] = {}
        for announced in streams:
            part = self._reader.part_of(announced.stream)
            if part in away:
                found.append((announced, away[part]))
                continue
            try:
                found.append((announced, await self._reader.newest(announced.stream)))
            except PublisherError as error:
                if isinstance(error, BrokerUnavailable):
                    if part == WHOLE.name:
                        raise
                    away[part] = error
                found.append((announced, error))
        return found

    def _from(self, announced: Announcement) -> _Followed:
        before = _before(announced.generation, announced.position)
        return _Followed(announced.run, self._clock.monotonic(), before)

    def _list(self, key: StreamKey, newest: Newest, run: str) -> _Followed:
        now, head = self._clock.instant(), newest.head
        entry = None if newest.last is None else newest.last.entry
        age = None
        if isinstance(entry, AudioFrame):
            age = max(0.0, (now.epoch_ms - entry.received_at_ms) / 1_000)
        is_live = head.account.state is State.LIVE
        is_still = is_live and age is not None and age >= STILL_SECONDS
        self._lines.listed(key, head, age, is_still=is_still)
        last = _at_the_end(head) if entry is None or isinstance(entry, Ended) else newest.last
        run = run if head.run is None else head.run.name
        followed = _Followed(run, now.monotonic - (age or 0.0), last)
        followed.is_told_still = is_still
        if is_still:
            followed.tell_still_after = max(TELL_FIRST_SECONDS, (age or 0.0) * TELL_FACTOR)
        return followed

    async def _hear_announcements(self) -> None:
        while page := await self._reader.announcements(self._cursor):
            for announced in page:
                key = announced.stream
                is_known = key in self._live or (key, announced.run) in self._over
                if not (announced.has_ended or is_known) and self._filters.take(announced):
                    self._live[key] = self._from(announced)
            self._cursor = page[-1].cursor

    async def _read_on(self, key: StreamKey, followed: _Followed) -> None:
        followed.quiet_polls += 1
        if followed.quiet_polls % ASK_HEAD_POLLS == 0 and not await self._reader.head(key):
            self._lines.gone(key)
            self._live.pop(key, None)
            return
        async for published in self._reader.read(key, followed.last):
            followed.last, followed.quiet_polls = published, 0
            entry = published.entry
            if isinstance(entry, Started):
                self._begin(followed, entry)
                if not self._filters.take_opening(entry.opening):
                    self._leave(key, followed)
                    return
            self._tell(key, followed, published)
            if isinstance(entry, Ended):
                self._note_over(key, followed.run)
        if followed.has_ended:
            self._leave(key, followed)
        else:
            await self._note_standstill(key, followed)

    def _begin(self, followed: _Followed, started: Started) -> None:
        """Follow a run, which may be a new one after the end of another."""
        followed.run = started.run
        if not started.resumed:
            followed.moved_at, followed.is_told_still = self._clock.monotonic(), False
            followed.tell_still_after = TELL_FIRST_SECONDS

    def _leave(self, key: StreamKey, followed: _Followed) -> None:
        """Stop following a stream until another run of it is announced."""
        self._live.pop(key, None)
        self._note_over(key, followed.run)

    def _note_over(self, key: StreamKey, run: str) -> None:
        self._over[key, run] = None
        if len(self._over) > MAX_OVER:
            del self._over[next(iter(self._over))]

    async def _note_standstill(self, key: StreamKey, followed: _Followed) -> None:
        seconds = self._clock.monotonic() - followed.moved_at
        if seconds < followed.tell_still_after:
            return
        followed.tell_still_after = seconds * TELL_FACTOR
        head = await self._reader.head(key)
        if head is not None and head.account.state is not State.ENDED:
            followed.is_told_still = True
            self._lines.still(key, seconds, is_cut=head.account.state is State.CUT)

    def _tell(self, key: StreamKey, followed: _Followed, published: PublishedEntry) -> None:
        entry = published.entry
        if isinstance(entry, AudioFrame):
            now = self._clock.monotonic()
            if followed.is_told_still:
                self._lines.flows_again(key, now - followed.moved_at)
            followed.moved_at, followed.is_told_still = now, False
            followed.tell_still_after = TELL_FIRST_SECONDS
            followed.untold_frames += 1
            followed.untold_ms += entry.audio_ms
            if followed.untold_ms < PROGRESS_MS:
                return
        if followed.untold_frames:
            self._lines.audio(key, followed.untold_frames, followed.untold_ms)
            followed.untold_frames = followed.untold_ms = 0
        self._lines.entry(key, entry)


def _at_the_end(head: Head) -> PublishedEntry | None:
    """Return an entry after which nothing is published yet."""
    return _before(head.lease.generation, head.next_position)


def _before(generation: int, position: int) -> PublishedEntry | None:
    """Return an entry directly before a position; None if it is the first."""
    return PublishedEntry(generation, position - 1, Gap(0, 1)) if position else None
