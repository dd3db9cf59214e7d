"""The port through which streams are published, and the values that cross it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from application.ports.errors import PublisherError
from domain.events import Event, Opening
from domain.identifiers import InteractionId, StreamKey
from domain.interaction import Account, Grant


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a stream: who holds it is told by the generation and a random token."""

    stream: StreamKey
    generation: int
    owner: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a stream: a position, and the generation that wrote it."""

    generation: int
    position: int


BEGINNING = Mark(0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events of one stream, to be published all or from the first on.

    `first_position` is the position of `events[0]`, or the next one when `events` is empty;
    `account` is the run as it stands once the whole batch is published. What stands before
    `keep_from` is older than the retention and is forgotten.
    """

    lease: Lease
    interaction_id: InteractionId
    first_position: int
    events: Sequence[Event]
    account: Account
    keep_from: Mark = BEGINNING


@dataclass(frozen=True, slots=True)
class Appended:
    """Everything below `next_position` is published."""

    next_position: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """The lease does not hold: a newer generation, or nothing more after the end. Nothing written.

    `generation` is the one that the stream has.
    """

    generation: int


@dataclass(frozen=True, slots=True)
class Hole:
    """The batch begins above `next_position`, the first that is not published; nothing written."""

    next_position: int


@dataclass(frozen=True, slots=True)
class Vanished:
    """The destination knows the stream no more; nothing was written."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A batch could not be written, or nobody knows whether it was."""

    error: PublisherError


@dataclass(frozen=True, slots=True)
class Undecided:
    """There is an open run, and the sender has not shown yet whether it goes on with it."""


Outcome = Appended | Fenced | Hole | Vanished | Failed


class StreamPublisher(Protocol):
    """Publishes media streams to a destination, exactly once and in order.

        Promises, for every adapter (the contract tests hold it to them):

    - Durability: what `begin` and `Appended` report is readable by others when they return.
    - Order: positions of a stream are dense and only grow. A batch above the next position is
      answered with `Hole`; a batch sent again writes only what is not yet there.
    - Fencing: `begin` takes the next generation, and from then on no older lease writes.
    - Finality: once a run has ended nothing more is written under its generation, not even by a
      call that was given up and arrives late.
    - Independence: streams do not wait for, or appear in, one another.
    - Announcement: a follower of the destination hears of each start and end, at least once,
      before the call that published it returns.
    - Concurrency: calls may overlap; for one stream the caller has one `append` under way.
    - Cancellation: a cancelled call leaves the publisher usable; its effect is unknown.
    """

    async def begin(
        self, opening: Opening, *, owner: str, has_token: bool, again: bool = False
    ) -> Grant | Undecided | Fenced:
        """Take the next generation of the stream for `owner` and publish its start, in one step.

        The open run goes on if `domain.events.goes_on` says so and the format is the same;
        otherwise an open run is first published as ended (`disconnected`, with its ledger) under
        its own generation, and a new run begins. Where it cannot be told yet the answer is
        `Undecided`, and nothing is changed.

        Repeated by the same `owner`, before it has appended anything, it answers the same, and
        announces again. With `again`, for a call whose outcome is not known, it only does that:
        where `owner` does not hold the stream the answer is `Fenced`, and nothing is changed.

        Raises:
            NotAllowed: the open run was begun with a token and `has_token` is false; nothing is
                changed.
            PublisherError: the destination could not be written; whether it was is unknown.

        """
        ...

    async def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Publish batches of different streams; one outcome for each, in their order.

        A batch of which nothing is new changes nothing, also not the account. The callers give up
        after 5 s, and then no stream has been served: answer `Failed` for a batch that is stuck.

        Raises:
            PublisherError: the destination was not reached, so no batch has a known outcome;
                `Failed` is for single batches among others.

        """
        ...

    async def standing(self, lease: Lease) -> Account | Fenced | Vanished:
        """Tell where the published stream stands, if the lease still holds.

        Raises:
            PublisherError: the destination could not be read.

        """
        ...
