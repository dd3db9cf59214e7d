"""The port through which stored streams are read back, entry by entry."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.entries import Entry, Gap
from domain.head import Head
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """An entry as it is found in the stream: who wrote it, and where it stands."""

    generation: int
    position: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Announcement:
    """Tells the followers of a store that a run has started, continued, or ended.

    `cursor` is the announcement's place among all, to read on after. `event_id` is the same when an
    announcement is repeated. `position` is that of the announced entry. `resumed` is false for an
    end.
    """

    cursor: str
    event_id: str
    has_ended: bool
    stream: StreamKey
    interaction_id: InteractionId
    generation: int
    position: int
    run: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Newest:
    """Where a stream stands, and its last entry; None if that is lost, or not at hand."""

    head: Head
    last: PublishedEntry | None


class StreamReader(Protocol):
    """Reads what a `StreamStore` has stored, in any process.

    Promises, each held by the contract tests:

    - Ordered: entries come by position, each once, from `first_kept` of the head on.
    - Resumable: behind an entry come all above it in (generation, position), also when the stream
      has started over at position 0.
    - Honest: a store that is not reached raises; it never looks like an empty one.
    - Complete: every announcement is found behind every older cursor, however many pages that
      takes, also behind a cursor of before the store was wiped or rolled back. Those of one stream
      are in the order of its entries; one may be repeated.
    """

    def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield the entries that are kept, in order of position; nothing for an unknown stream.

        With `after`, only those behind that entry. Entries stored while reading may be missed.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def head(self, stream: StreamKey) -> Head | None:
        """Return where a stream stands; None if it is unknown.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def newest(self, stream: StreamKey) -> Newest | None:
        """Return where a stream stands, and its last entry; None if it is unknown.

        The entry may be newer than the head. Default: two questions; override it with one.

        Raises:
            PublisherError: the store could not be read.

        """
        head = await self.head(stream)
        if head is None:
            return None
        behind = PublishedEntry(head.lease.generation, head.next_position - 2, Gap(0, 1))
        last = None
        async for last in self.read(stream, behind):  # noqa: B007  # the last one is wanted
            pass
        return Newest(head, last)

    def part_of(self, stream: StreamKey) -> str:  # noqa: ARG002  # for overriders
        """Return the part of the store that a stream is in, as far as this reader knows.

        Who reads many streams does so side by side for different parts. Default: there is one part.
        """
        return ""

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next page of announcements behind a cursor, or of all kept; empty at the end.

        Raises:
            PublisherError: the store could not be read.

        """
        ...
