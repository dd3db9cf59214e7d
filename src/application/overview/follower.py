"""Reads a store and feeds the overview, at a limited rate for any number of calls.

the index     a few pages a round, until its end, then new pages
looks         at visible calls, up to once a second each; at the others in turn
time lines    of watched calls: entry by entry, a limited number a round

Calls in different parts of a store are read concurrently: a part that is away, or answers late,
delays only its own calls.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from application.backoff import Backoff
from application.overview.call_overview import CallOverview
from application.overview.time_line import TimeLine
from application.overview.watched import Watched
from application.ports.clock import Clock
from application.ports.destination import WHOLE
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.reader import StreamReader
from domain.identifiers import StreamKey

ROUND_SECONDS = 0.5
MIN_PAUSE_SECONDS = 0.05
SHOWN_SECONDS = 0.9
"""The time between two looks at a visible call."""

GROUP = 16
"""How many looks run concurrently."""

GROUP_PAUSE_SECONDS = 0.01
INDEX_PAGES = 8
PART_SECONDS = 1.0
"""How long a round waits for the parts of a store; a late part is read beside the next round."""

MAX_WATCHED = 8
MAX_NEW = 10_000
"""How many announced calls wait for their first look, which comes before all others."""


class Follower:
    """Follows a store for views, which name their visible and their watched calls."""

    def __init__(
        self,
        reader: StreamReader,
        clock: Clock,
        overview: CallOverview,
        looks_per_second: int,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._overview = overview
        self._looks = max(1, round(looks_per_second * ROUND_SECONDS))
        self._cursor: str | None = None
        self._new: deque[StreamKey] = deque(maxlen=MAX_NEW)
        self._turn: deque[StreamKey] = deque()
        self._watched: dict[StreamKey, Watched] = {}
        self._in_parts: dict[str, asyncio.Task[None]] = {}
        self._backoff = Backoff(ROUND_SECONDS, cap=2.0)
        self.shown: dict[object, Sequence[StreamKey]] = {}
        """The visible calls of each view."""
        self.watched: dict[object, StreamKey] = {}
        """The call that a view watches; at most `MAX_WATCHED` are read."""

    def line(self, stream: StreamKey) -> TimeLine | None:
        """Return the time line of a watched call, as far as it is read."""
        found = self._watched.get(stream)
        return None if found is None else found.line

    async def run(self) -> None:
        """Follow for ever."""
        self._overview.opened(self._clock.instant())
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    await self._round()
                except PublisherError as error:
                    self._overview.failed(str(error), self._clock.instant())
                    for watched in self._watched.values():
                        watched.line.is_read = False
                    await asyncio.sleep(self._backoff.note_failure())
                else:
                    self._backoff.reset()
                    await asyncio.sleep(self._pause(self._clock.monotonic() - began))
        finally:
            for task in self._in_parts.values():
                task.cancel()
            await asyncio.gather(*self._in_parts.values(), return_exceptions=True)
            for watched in self._watched.values():
                await watched.stop()

    def _pause(self, passed: float) -> float:
        if not self._overview.has_index:
            return MIN_PAUSE_SECONDS
        return max(MIN_PAUSE_SECONDS, ROUND_SECONDS - passed)

    async def _round(self) -> None:
        await self._read_index()
        if not self._overview.has_index:  # many of those that it names are over
            return
        due, watched = self._due(), await self._choose_watched()
        parts: dict[str, tuple[list[StreamKey], list[StreamKey]]] = {}
        for number, streams in enumerate((due, watched)):
            for stream in streams:
                parts.setdefault(self._reader.part_of(stream), ([], []))[number].append(stream)
        for part, (its_due, its_watched) in parts.items():
            if part in self._in_parts:
                self._look_later(its_due)
                continue
            following = self._follow(part, its_due, its_watched)
            self._in_parts[part] = asyncio.create_task(following, name="part of a store")
        if self._in_parts:
            seconds = None if WHOLE.name in self._in_parts else PART_SECONDS
            await asyncio.wait(self._in_parts.values(), timeout=seconds)
        for part in [it for it, task in self._in_parts.items() if task.done()]:
            self._in_parts.pop(part).result()

    async def _follow(
        self, part: str, due: Sequence[StreamKey], watched: Sequence[StreamKey]
    ) -> None:
        """Follow calls of one part until it cannot be reached."""
        for first in range(0, len(due), GROUP):
            if not await self._look_at(due[first : first + GROUP]):
                rest = due[first + GROUP :]
                if part == WHOLE.name:
                    self._look_later(rest)  # the next round tells whether it is away
                    return
                for stream in rest:
                    self._overview.unread(stream, self._clock.instant())
                return
            await asyncio.sleep(GROUP_PAUSE_SECONDS)
        for stream in watched:
            await self._read_watched(stream)

    async def _read_index(self) -> None:
        for _ in range(INDEX_PAGES):
            self._overview.asked(self._clock.instant())
            page = await self._reader.announcements(self._cursor)
            now = self._clock.instant()
            self._overview.heard(now)
            if not page:
                self._overview.has_index = True
                return
            for announced in page:
                self._overview.announced(announced, now)
                if self._overview.has_index:
                    self._new.append(announced.stream)
            self._cursor = page[-1].cursor

    def _due(self) -> list[StreamKey]:
        """Return the calls to look at now: visible ones get at most half of the looks.

        They get a quarter until there was a look at each call.
        """
        overview, now = self._overview, self._clock.monotonic()
        shown = dict.fromkeys(it for streams in self.shown.values() for it in streams)
        due: dict[StreamKey, None] = {}
        for stream in [*self.watched.values(), *shown]:
            call = overview.call(stream)
            is_due = call is not None and (
                call.looked_at is None or now - call.looked_at >= SHOWN_SECONDS
            )
            if is_due and call is not None and not call.is_settled:
                due[stream] = None
        share = 2 if overview.is_seen else 4
        due = dict.fromkeys(sorted(due, key=self._urgency)[: max(1, self._looks // share)])
        if not self._turn:
            self._turn.extend(it.stream for it in overview.calls if not it.is_settled)
        while len(due) < self._looks and (self._new or self._turn):
            due[(self._new or self._turn).popleft()] = None
        return list(due)

    def _look_later(self, streams: Sequence[StreamKey]) -> None:
        """Queue ended calls again, since only live calls get further turns."""
        for stream in streams:
            call = self._overview.call(stream)
            if call is not None and call.condition.is_over:
                self._new.append(stream)

    def _urgency(self, stream: StreamKey) -> tuple[bool, float]:
        """Return the sort key of visible calls: those of a part that is away come last."""
        call = self._overview.call(stream)
        return (False, 0.0) if call is None else (call.is_unread, call.looked_at or 0.0)

    async def _look_at(self, streams: Sequence[StreamKey]) -> bool:
        """Look at calls concurrently; return whether any of them was reached."""
        streams = [it for it in streams if self._overview.call(it) is not None]
        if not streams:
            return True
        self._overview.asked(self._clock.instant())
        found = await asyncio.gather(
            *(self._reader.newest(it) for it in streams), return_exceptions=True
        )
        now = self._clock.instant()
        for stream, newest in zip(streams, found, strict=True):
            if isinstance(newest, PublisherError):
                self._overview.unread(stream, now)
            elif isinstance(newest, BaseException):
                raise newest
            elif newest is None:
                self._overview.absent(stream, now)
            else:
                self._overview.looked(stream, newest, now)
        if all(isinstance(it, BrokerUnavailable) for it in found):
            return False
        self._overview.heard(now)
        return True

    async def _choose_watched(self) -> Sequence[StreamKey]:
        """Return the watched calls, and stop reading the others."""
        wanted = list(dict.fromkeys(self.watched.values()))[:MAX_WATCHED]
        for stream in self._watched.keys() - set(wanted):
            if not self._watched[stream].is_busy:
                await self._watched.pop(stream).stop()
        return wanted

    async def _read_watched(self, stream: StreamKey) -> None:
        watched = self._watched.setdefault(stream, Watched())
        self._overview.asked(self._clock.instant())
        try:
            await watched.read(
                self._reader, stream, lambda: self._overview.heard(self._clock.instant())
            )
        except PublisherError:
            self._overview.unread(stream, self._clock.instant())
