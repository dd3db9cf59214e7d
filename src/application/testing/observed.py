"""Requests of the tests to a destination, and the expected results."""

import asyncio
from collections.abc import Sequence

from application.ports.destination import Destination
from application.ports.errors import PublisherError
from application.ports.reader import Announcement, PublishedEntry
from application.ports.store import Append, Appended, Conflict, Failed, Mark, Outcome
from application.testing.appends import as_published, as_stored, stream
from domain.head import Head
from domain.identifiers import StreamKey

RECOVERY_SECONDS = 20.0
"""How long an adapter may take to reconnect to storage that is back."""


async def store(destination: Destination, *appends: Append) -> None:
    """Store appends that must succeed."""
    outcomes = list(await destination.store.append(appends))
    assert outcomes == [Appended()] * len(appends)


async def send(destination: Destination, append: Append) -> Outcome:
    """Send one append."""
    (outcome,) = await destination.store.append([append])
    return plain(outcome)


async def attempt(destination: Destination, appends: Sequence[Append]) -> list[Outcome]:
    """Send appends that may fail."""
    try:
        outcomes = await destination.store.append(appends)
    except PublisherError as error:
        return [Failed(error)] * len(appends)
    return [plain(outcome) for outcome in outcomes]


async def settle(destination: Destination, appends: Sequence[Append]) -> None:
    """Send appends until each is known to be stored."""
    left = list(appends)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while left:
            outcomes = await attempt(destination, left)
            assert len(outcomes) == len(left)
            again = []
            for append, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, Failed):
                    again.append(append)
                elif outcome != Appended():
                    assert outcome == Conflict(as_stored(append.head))
            left = again
            await asyncio.sleep(0.02 if left else 0)


async def until_answered(destination: Destination) -> None:
    """Wait until the storage is reachable again."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                await destination.store.heads([stream("any")])
            except PublisherError:
                await asyncio.sleep(0.02)
            else:
                return


async def head(destination: Destination, key: StreamKey) -> Head | None:
    """Return the head of a stream."""
    (found,) = (await destination.store.heads([key])).heads
    if isinstance(found, Failed):
        raise found.error
    return as_stored(found)


async def read(
    destination: Destination, key: StreamKey, after: PublishedEntry | None = None
) -> list[PublishedEntry]:
    """Return the entries of a stream."""
    return [
        PublishedEntry(it.generation, it.position, as_published(it.entry))
        async for it in destination.reader.read(key, after)
    ]


async def announced(destination: Destination, key: StreamKey) -> list[Announcement]:
    """Return the announcements of a stream, without repetitions."""
    return (await all_announced(destination)).get(key, [])


async def all_announced(destination: Destination) -> dict[StreamKey, list[Announcement]]:
    """Return the announcements of each stream, without repetitions."""
    found: dict[StreamKey, dict[str, Announcement]] = {}
    cursor = None
    while page := await destination.reader.announcements(cursor):
        assert page[-1].cursor != cursor, "the page after a cursor begins with it"
        cursor = page[-1].cursor
        for it in page:
            found.setdefault(it.stream, {}).setdefault(it.event_id, it)
    return {key: list(its.values()) for key, its in found.items()}


def expected(*appends: Append) -> list[PublishedEntry]:
    """Return the entries of all appends of one stream, counted from 0."""
    entries = [
        (segment.generation, entry)
        for append in appends
        for segment in append.segments
        for entry in segment.entries
    ]
    return [
        PublishedEntry(generation, position, as_published(entry))
        for position, (generation, entry) in enumerate(entries)
    ]


def facts(announcements: Sequence[Announcement]) -> list[tuple[str, Mark, bool, str]]:
    """Return the contents of announcements."""
    return [
        (
            "ended" if it.has_ended else "started",
            Mark(it.generation, it.position),
            it.resumed,
            it.run,
        )
        for it in announcements
    ]


def plain(outcome: Outcome) -> Outcome:
    """Return an outcome without the parts of a head that a store need not keep."""
    return Conflict(as_stored(outcome.head)) if isinstance(outcome, Conflict) else outcome
