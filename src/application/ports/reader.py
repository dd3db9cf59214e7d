"""The port through which published streams are read back."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.account import Account
from domain.events import Event
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event as it is found in the stream, with the generation that wrote it."""

    generation: int
    event: Event


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the destination knows of a stream beside its entries.

    `first_kept` is the first position that retention has not forgotten.
    """

    generation: int
    account: Account
    first_kept: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """That a stream has started or ended, as its followers hear of it.

    `cursor` is the announcement's place among all, to go on after. `event_id` is the same when an
    announcement is repeated. `generation` and `position` are those of the event announced, `run`
    names its run, and `resumed` tells whether its generation goes on with the run of an older one.
    """

    cursor: str
    event_id: str
    has_ended: bool
    stream: StreamKey
    interaction_id: InteractionId
    generation: int
    position: int
    run: str
    resumed: bool


class StreamReader(Protocol):
    """Reads what `StreamPublisher` has published."""

    def read(
        self, stream: StreamKey, after: PublishedEvent | None = None
    ) -> AsyncIterator[PublishedEvent]:
        """Yield the events that are kept, in order of position; nothing for an unknown stream.

        With `after`, only those behind that event. Events published while reading may be missed.

        Raises:
            PublisherError: the destination could not be read.

        """
        ...

    async def facts(self, stream: StreamKey) -> StreamFacts | None:
        """Return the facts of a stream, None when it is unknown.

        Raises:
            PublisherError: the destination could not be read.

        """
        ...

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """Return the next announcements behind a cursor, or the oldest kept; none if none is new.

        A page at a time: call again with the last one's cursor.

        Raises:
            PublisherError: the destination could not be read.

        """
        ...
