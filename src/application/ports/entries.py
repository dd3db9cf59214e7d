"""The port through which stored streams are read back, entry by entry."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from application.ports.store import Mark
from domain.entries import Entry
from domain.head import Head
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """An entry as it is found in the stream: who wrote it, and where it stands."""

    generation: int
    position: int
    entry: Entry

    @property
    def mark(self) -> Mark:
        """The name of the entry in its stream."""
        return Mark(self.generation, self.position)


@dataclass(frozen=True, slots=True)
class Announcement:
    """That a generation has started or a run has ended, as followers hear of it.

    `cursor` is the announcement's place among all, to read on after. `entry` is the `Started` or
    `Ended` announced: read the stream from it on. `resumed` is of a start.
    """

    cursor: str
    stream: StreamKey
    interaction_id: InteractionId
    run: str
    entry: Mark
    has_ended: bool
    resumed: bool = False

    @property
    def event_id(self) -> str:
        """The name by which a repetition is known."""
        return f"{self.stream}/{self.entry.generation}-{self.entry.position}"


class StreamReader(Protocol):
    """Reads what a `StreamStore` has stored, in any process.

    Promises, each held by the contract tests:

    - Ordered: entries come by position, each once, from `first_kept` of the head on.
    - Resumable: behind a mark come all entries above it in (generation, position), also when the
      stream has begun again at position 0.
    - Honest: a store that is not reached raises; it never looks like an empty one.
    - Complete: every announcement is found behind every older cursor, however many pages that
      takes. Those of one stream are in the order of its entries; one may be repeated.
    """

    def read(self, stream: StreamKey, after: Mark | None = None) -> AsyncIterator[PublishedEntry]:
        """Yield the entries that are kept, behind `after` if it is given; none if it is unknown.

        Entries stored while reading may be missed.

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

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next page of announcements behind a cursor, or of all kept; empty at the end.

        Raises:
            PublisherError: the store could not be read.

        """
        ...
