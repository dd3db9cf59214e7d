"""The port through which published streams are read back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from domain.events import Event
from domain.identifiers import StreamKey
from domain.interaction import Account


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


class StreamReader(Protocol):
    """Reads what `StreamPublisher` has published."""

    def read(self, stream: StreamKey) -> AsyncIterator[PublishedEvent]:
        """Yield the events that are kept, in order of position; nothing for an unknown stream.

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
