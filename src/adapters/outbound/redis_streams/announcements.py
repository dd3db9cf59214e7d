"""The index that consumers follow: one entry for each start and end; lost ones are repeated.

An entry of the index is written after the stream's own, so a broker that was rolled back may have
only one of them. Therefore recent announcements are remembered with their index ids, and looked up
when the broker is back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.entries import read_entry_id
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.replies import failure_of, raise_if_error
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Reply
from application.ports.destination import DestinationOptions
from application.ports.errors import PublisherError
from application.ports.store import Mark
from domain.identifiers import InteractionId, StreamKey

MAX_REMEMBERED = 20_000
"""Announcements that are remembered at most: 4,000 a second for 5 s, some 20 MB."""

PAGE = 500

_MARK = b"announce:"
_WRONG_TYPE = "WRONGTYPE"


@dataclass(frozen=True, slots=True)
class Notice:
    """A start or an end to be announced."""

    stream: StreamKey
    interaction_id: InteractionId
    generation: int
    position: int
    has_ended: bool
    run: str
    resumed: bool

    @classmethod
    def marked(cls, stream: StreamKey, fields: Mapping[bytes, bytes]) -> "list[Notice]":
        """Read the marks among the fields of a head, in order of position."""
        notices = []
        for name, value in fields.items():
            if not name.startswith(_MARK):
                continue
            entry = read_entry_id(name[len(_MARK) :])
            kind, interaction_id, resumed, run = value.decode().split(" ", 3)
            notices.append(
                cls(
                    stream,
                    InteractionId(interaction_id),
                    entry.generation,
                    entry.position,
                    kind == "ended",
                    run,
                    resumed == "1",
                )
            )
        return sorted(notices, key=lambda one: one.position)

    @property
    def entry_id(self) -> str:
        """The id of the stream's own entry."""
        return f"{self.generation}-{self.position}"

    @property
    def mark(self) -> str:
        """The field of the stream's head that marks it as not yet announced."""
        return f"announce:{self.entry_id}"

    @property
    def mark_value(self) -> str:
        """The announcement, as the mark stores it."""
        kind = "ended" if self.has_ended else "started"
        return f"{kind} {self.interaction_id} {int(self.resumed)} {self.run}"

    @property
    def event_id(self) -> str:
        """The name by which a repetition is known."""
        return layout.event_id(self.stream, self.generation, self.position)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """When it was announced (monotonic seconds), and its id in the index."""

    made_at: float
    entry_id: bytes
    notice: Notice


class Announcements:
    """Writes to the index and remembers what it wrote in the last `rewind_seconds`."""

    def __init__(self, link: Link, options: DestinationOptions) -> None:
        self._link = link
        self.index_key = layout.index_key(options.prefix)
        self._restored_epoch = 0
        self._prefix = options.prefix
        self._seconds = options.rewind_seconds
        self._remembered: dict[str, _Remembered] = {}
        self._is_known_of = False
        self._repairing = asyncio.Lock()

    async def make(self, *groups: Sequence[Notice]) -> list[PublisherError | None]:
        """Announce groups in one round trip; return the error of each, if any.

        Raises:
            PublisherError: the broker was not reached; which were announced is unknown.

        """
        flat = [notice for group in groups for notice in group]
        if not flat:
            return [None] * len(groups)
        commands = [self._command(notice) for notice in flat]
        replies = iter(await self._link.run(commands, [self.index_key] * len(commands)))
        failures = [self._take_note(group, [next(replies) for _ in group]) for group in groups]
        done = [notice for notice in flat if notice.event_id in self._remembered]
        await self._link.run(
            [
                ("HDEL", layout.facts_key(self._prefix, notice.stream), notice.mark)
                for notice in done
            ],
            [notice.stream for notice in done],
        )
        self._forget_old()
        return failures

    def note_empty(self) -> bool:
        """Note that the index is empty; return whether it had entries of ours before."""
        was_known_of, self._is_known_of = self._is_known_of, False
        if was_known_of:
            self._restored_epoch = 0
        return was_known_of

    async def repair(self) -> None:
        """Restore the index if the broker may have lost entries of it since the last time.

        Raises:
            PublisherError: the broker was not reached, or refuses.

        """
        async with self._repairing:
            if self._restored_epoch != self._link.epoch_of(self.index_key):
                await self._restore()

    async def _restore(self) -> None:
        epoch = self._link.epoch_of(self.index_key)
        remembered = list(self._remembered.values())
        for first in range(0, len(remembered), PAGE):
            missing = await self._missing(remembered[first : first + PAGE])
            (failure,) = await self.make(missing) if missing else (None,)
            if failure is not None:
                raise failure
        self._restored_epoch = epoch

    async def _missing(self, page: Sequence[_Remembered]) -> list[Notice]:
        key = self.index_key
        found = await self._link.run(
            [("XRANGE", key, it.entry_id, it.entry_id) for it in page], [key] * len(page)
        )
        missing = []
        for it, entries in zip(page, found, strict=True):
            raise_if_error(entries)
            if not (entries and it.notice.event_id.encode() in entries[0][1]):
                missing.append(it.notice)
        return await self._still_there(missing)

    async def _still_there(self, missing: Sequence[Notice]) -> list[Notice]:
        """Leave out announcements whose stream was lost: the rebase announces them once more."""
        found = await self._link.run(
            [
                (
                    "XRANGE",
                    layout.stream_key(self._prefix, notice.stream),
                    notice.entry_id,
                    notice.entry_id,
                )
                for notice in missing
            ],
            [notice.stream for notice in missing],
        )
        still_there = []
        for notice, entries in zip(missing, found, strict=True):
            if isinstance(entries, ErrorReply) and str(entries).startswith(_WRONG_TYPE):
                continue  # the key is another program's now
            raise_if_error(entries)
            if entries:
                still_there.append(notice)
        return still_there

    def _command(self, notice: Notice) -> Command:
        return layout.announcement(
            self._prefix,
            notice.stream,
            notice.interaction_id,
            Mark(notice.generation, notice.position),
            run=notice.run,
            resumed=notice.resumed,
            has_ended=notice.has_ended,
        )

    def _take_note(self, group: Sequence[Notice], replies: list[Reply]) -> PublisherError | None:
        now = monotonic()
        for notice, reply in zip(group, replies, strict=True):
            failure = failure_of(reply)
            if failure is not None:
                return failure
            self._remembered.pop(notice.event_id, None)
            self._remembered[notice.event_id] = _Remembered(now, reply, notice)
            self._is_known_of = True
        return None

    def _forget_old(self) -> None:
        """Drop old announcements, unless the index may still have to be restored."""
        oldest = monotonic() - self._seconds
        may_lack = self._restored_epoch == self._link.epoch_of(self.index_key)
        for event_id, it in list(islice(self._remembered.items(), PAGE)):
            is_old = may_lack and it.made_at <= oldest
            if not is_old and len(self._remembered) <= MAX_REMEMBERED:
                return
            del self._remembered[event_id]
