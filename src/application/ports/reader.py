"""The port through which published streams are read back."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.entries import Entry
from domain.head import Head
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """An entry as it is found in the stream, and the generation that wrote it."""

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


class StreamReader(Protocol):
    """Reads what `StreamStore` has stored."""

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
        """Return where a stream stands, None when it is unknown.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next announcements behind a cursor, or the oldest kept; none if none is new.

        A page at a time: call again with the last one's cursor.

        Raises:
            PublisherError: the store could not be read.

        """
        ...
