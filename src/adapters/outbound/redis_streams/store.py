"""`StreamStore` over Redis: an append is one script, which compares the revision and writes.

A plain pipeline of XADD is not safe: when the broker refuses one in the middle the later ones are
stored. The script stores all of an append or nothing.
"""

from collections.abc import Mapping, Sequence

from adapters.brokers.data import UNREADABLE
from adapters.outbound.redis_streams.announcements import Announcements, Notice
from adapters.outbound.redis_streams.append_calls import AppendCalls
from adapters.outbound.redis_streams.heads import read_head
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.replies import failure_of, raise_if_error
from adapters.outbound.redis_streams.resp import Command, Parts, Reply
from adapters.outbound.redis_streams.slots import Key
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.store import (
    APPENDED,
    Append,
    Conflict,
    Failed,
    Heads,
    Outcome,
    StreamStore,
)
from domain.head import Head, Revision
from domain.identifiers import StreamKey

PAGE = 200
"""Heads that are read in one round trip."""

MAX_DUE = 4_096
"""The number of streams whose due announcements are remembered; for others the broker has marks."""

_Chain = tuple[tuple[Revision, tuple[Notice, ...]], ...]
"""Consecutive appends of a stream: their revisions and announcements. A stream that has one of
these revisions has all appends up to it."""


class RedisStreamStore(StreamStore):
    """Stores through a link, which never repeats a command that may have been executed."""

    def __init__(
        self, link: Link, announcements: Announcements, options: DestinationOptions
    ) -> None:
        self._link = link
        self._announcements = announcements
        self._calls = AppendCalls(options.prefix, max(1, round(options.expire_seconds * 1000)))
        self._due: dict[StreamKey, _Chain] = {}

    def epoch_of(self, stream: StreamKey) -> int:
        """Grow with each new connection. See `StreamStore.epoch_of`."""
        return self._link.epoch_of(stream)

    def part_of(self, stream: StreamKey) -> str:
        """Return the part of a cluster. See `StreamStore.part_of`."""
        return self._link.part_of(stream)

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """Return the heads of streams. See `StreamStore.heads`."""
        found: list[Head | Failed | None] = []
        now_ms = 0
        clock: Key = self._announcements.index_key
        for first in range(0, len(streams) or 1, PAGE):
            page = streams[first : first + PAGE]
            calls: list[Command | Parts] = [self._calls.read(it) for it in page]
            chains = [self._due.get(stream) for stream in page] if self._due else ()
            if page:
                clock = page[0]
            *replies, time = await self._link.run([*calls, ("TIME",)], [*page, clock])
            raise_if_error(time)
            now_ms = max(now_ms, int(time[0]) * 1_000 + int(time[1]) // 1_000)
            states = [_read(stream, reply) for stream, reply in zip(page, replies, strict=True)]
            due = {index: notice for index, (_, notice) in enumerate(states) if notice}
            failed = await self._announce(due)
            heads = [failed.get(index, head) for index, (head, _) in enumerate(states)]
            self._forget_due(page, chains, heads)
            found += heads
        return Heads(now_ms, found)

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """Store appends in one pipeline. See `StreamStore.append`."""
        calls, streams = [], []
        for append in appends:
            call, notice = self._calls.write(append)
            calls.append(call)
            streams.append(append.stream)
            if notice or (self._due and append.stream in self._due):
                self._note_due(append, notice)
        chains = [self._due.get(append.stream) for append in appends] if self._due else ()
        replies = await self._link.run(calls, streams)
        outcomes: list[Outcome] = []
        due: dict[int, Sequence[Notice]] = {}
        for append, reply in zip(appends, replies, strict=True):
            if reply == 1:  # as nearly always
                outcomes.append(APPENDED)
                continue
            head, notice = _read(append.stream, reply)
            if notice:
                due[len(outcomes)] = notice
            outcomes.append(head if isinstance(head, Failed) else Conflict(head))
        if chains or due:
            await self._announce_appended(appends, outcomes, chains, due)
        return outcomes

    async def _announce_appended(
        self,
        appends: Sequence[Append],
        outcomes: list[Outcome],
        chains: Sequence[_Chain | None],
        due: dict[int, Sequence[Notice]],
    ) -> None:
        """Announce stored appends and found marks; if that fails, the append counts as failed."""
        for index, chain in enumerate(chains):
            if chain is not None and outcomes[index] is APPENDED:
                due[index] = [one for _, notice in chain for one in notice]
        for index, failure in (await self._announce(due)).items():
            outcomes[index] = failure
        self._forget_due([append.stream for append in appends], chains, outcomes)

    async def _announce(self, due: Mapping[int, Sequence[Notice]]) -> dict[int, Failed]:
        """Make the due announcements of streams; return the errors by stream."""
        if not due:
            return {}
        try:
            failures = await self._announcements.make(*due.values())
        except PublisherError as error:
            return {index: Failed(error) for index in due}
        pairs = zip(due, failures, strict=True)
        return {index: Failed(failure) for index, failure in pairs if failure is not None}

    def _forget_due(
        self,
        streams: Sequence[StreamKey],
        chains: Sequence[_Chain | None],
        answers: Sequence[Outcome | Head | None],
    ) -> None:
        """Drop the due announcements of answered streams: they are made, or were not stored."""
        for stream, chain, answer in zip(streams, chains, answers, strict=False):
            if chain is None or isinstance(answer, Failed):
                continue
            now = self._due.pop(stream, ())
            rest = now[len(chain) :] if now[: len(chain)] == chain else now
            if any(notice for _, notice in rest):
                self._due[stream] = rest

    def _note_due(self, append: Append, notice: Sequence[Notice]) -> None:
        """Remember the announcements of an append, after those of earlier ones."""
        sent = self._due.pop(append.stream, ())
        revisions = [revision for revision, _ in sent]
        stored = revisions.index(append.expected) + 1 if append.expected in revisions else 0
        if notice or stored:
            if len(self._due) >= MAX_DUE:
                self._due.pop(next(iter(self._due)))
            self._due[append.stream] = (*sent[:stored], (append.head.revision, tuple(notice)))


def _read(stream: StreamKey, reply: Reply) -> tuple[Head | Failed | None, Sequence[Notice]]:
    """Read the head of a stream, and its missing announcements."""
    failure = failure_of(reply)
    if failure is not None:
        return Failed(failure), ()
    exists, flat, info = reply
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    try:
        return read_head(exists, fields, info), Notice.marked(stream, fields)
    except BrokerRefused as error:
        return Failed(error), ()
    except UNREADABLE as error:
        return Failed(BrokerRefused(f"a mark of {stream} cannot be read: {error}")), ()
