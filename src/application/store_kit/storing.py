"""Helpers that every store needs.

The entries of an append with their positions, and its announcements. The next number for a cursor
or a heartbeat. The two heads that a store derives itself if it has lost one half of a stream.
Streams that fail independently.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from application.ports.errors import PublisherError
from application.ports.reader import Announcement, PublishedEntry
from application.ports.store import Append, Failed
from domain.account import Account
from domain.entries import Ended, Started
from domain.fold import Segment
from domain.head import Head, Lease

_Of = TypeVar("_Of")
_T = TypeVar("_T")


async def separately(
    work: Callable[[_Of], Awaitable[_T]], of: Sequence[_Of]
) -> Sequence[_T | Failed]:
    """Do the same for several streams concurrently; one that fails is `Failed` alone."""

    async def one(it: _Of) -> _T | Failed:
        try:
            return await work(it)
        except PublisherError as error:
            return Failed(error)

    return await asyncio.gather(*(one(it) for it in of))


def in_turn(work: Callable[[_Of], _T], of: Sequence[_Of]) -> list[_T | Failed]:
    """Do the same for several streams sequentially; one that fails is `Failed` alone."""

    def one(it: _Of) -> _T | Failed:
        try:
            return work(it)
        except PublisherError as error:
            return Failed(error)

    return [one(it) for it in of]


def entries_of(append: Append) -> list[PublishedEntry]:
    """Return the entries of an append with their generations and positions."""
    return [placed for _, placed in _placed(append)]


def is_kept(published: PublishedEntry, head: Head, after: PublishedEntry | None) -> bool:
    """Return whether a reader after `after` should see an entry of a stream."""
    place = (published.generation, published.position)
    is_after = after is None or place > (after.generation, after.position)
    return is_after and published.position >= head.first_kept


def announcements_of(append: Append) -> list[Announcement]:
    """Return the announcements of an append, in order; the store sets their cursors."""
    return [
        Announcement(
            cursor="",
            event_id=f"{append.stream}/{placed.generation}-{placed.position}",
            has_ended=isinstance(placed.entry, Ended),
            stream=append.stream,
            interaction_id=segment.run.opening.interaction_id,
            generation=placed.generation,
            position=placed.position,
            run=segment.run.name,
            resumed=isinstance(placed.entry, Started) and placed.entry.resumed,
        )
        for segment, placed in _placed(append)
        if isinstance(placed.entry, Started | Ended)
    ]


def number_above(last: int, now: float) -> int:
    """Return the next number: an announcement's cursor, or a heartbeat.

    It is above `last`, and above all numbers from before a loss of the store, since it is based on
    the time, `now` in seconds since 1970. A float can represent each of these numbers.
    """
    return max(last + 1, round(now * 1_000_000))


def without_entries(head: Head) -> Head:
    """Return the head of a stream whose entries are lost."""
    return replace(head, revision=f"{head.revision} without entries", entries_lost=True)


def without_account(last: PublishedEntry, first_kept: int) -> Head:
    """Return the head of a stream that has only entries, up to `last`."""
    return Head(
        revision=f"entries up to {last.generation}-{last.position}",
        lease=Lease(last.generation, "", 0),
        begun_at=0,
        run=None,
        account=Account(last.position + 1),
        first_kept=first_kept,
        account_lost=True,
    )


def _placed(append: Append) -> Iterator[tuple[Segment, PublishedEntry]]:
    count = sum(len(segment.entries) for segment in append.segments)
    position = append.head.next_position - count
    for segment in append.segments:
        for entry in segment.entries:
            yield segment, PublishedEntry(segment.generation, position, entry)
            position += 1
