"""The port through which stored streams are read back, entry by entry."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.entries import Entry, Gap
from domain.head import Head
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """An entry of a stream, with its generation and its position."""

    generation: int
    position: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Announcement:
    """The announcement that a run has started, continued, or ended.

    `cursor` is the announcement's place among all, after which a reader continues. A repeated
    announcement has the same `event_id`. `position` is that of the announced entry. `resumed` is
    false for an end.
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
    """The head of a stream and its last entry; the entry is None if lost or not available."""

    head: Head
    last: PublishedEntry | None


class StreamReader(Protocol):
    """Reads what a `StreamStore` has stored, in any process.

    Promises, each checked by the contract tests:

    - Ordered: entries come by position, each once, from `first_kept` of the head on.
    - Resumable: reading after an entry yields all entries above it in (generation, position), also
      if the stream has started over at position 0.
    - Honest: an unreachable store raises; it never looks like an empty one.
    - Complete: reading after a cursor finds every later announcement, over any number of pages,
      also if the store was wiped or rolled back since. Those of one stream are in the order of its
      entries; they may be repeated.
    """

    def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """Yield the kept entries in order of position; none for an unknown stream.

        With `after`, only later entries. Entries stored while reading may be missed.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def head(self, stream: StreamKey) -> Head | None:
        """Return the head of a stream; None if the stream is unknown.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def newest(self, stream: StreamKey) -> Newest | None:
        """Return the head of a stream and its last entry; None if the stream is unknown.

        The entry may be newer than the head. Default: two requests; override it with one.

        Raises:
            PublisherError: the store could not be read.

        """
        head = await self.head(stream)
        if head is None:
            return None
        before_last = PublishedEntry(head.lease.generation, head.next_position - 2, Gap(0, 1))
        last = None
        async for last in self.read(stream, before_last):  # noqa: B007  # the last one is wanted
            pass
        return Newest(head, last)

    def part_of(self, stream: StreamKey) -> str:  # noqa: ARG002  # for overriders
        """Return the part of the store that a stream is in, as far as this reader knows.

        Views read different parts concurrently. Default: there is one part.
        """
        return ""

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next page of announcements after a cursor, or the first; empty at the end.

        Raises:
            PublisherError: the store could not be read.

        """
        ...
