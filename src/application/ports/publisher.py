"""The port through which streams are published, and the values that cross it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from application.ports.errors import PublisherError
from domain.account import Account, Grant
from domain.events import Event, Opening
from domain.identifiers import InteractionId, StreamKey


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a stream: who holds it is told by the generation and a random token.

    `said_at_ms` is when its start was said, by the destination's own clock.
    """

    stream: StreamKey
    generation: int
    owner: str
    said_at_ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a stream: a position, and the generation that wrote it."""

    generation: int
    position: int


BEGINNING = Mark(0, 0)

LATE_SECONDS = 1.0
"""A start that was said so long ago may be older than that of whoever has begun the stream since.
Less is not told apart: a start that is made at once is the newest, whatever the clocks say."""


@dataclass(slots=True)
class Batch:
    """Consecutive events of one stream, to be published all or from the first on.

    Not to be changed.

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


@dataclass(slots=True)
class Appended:
    """Everything below `next_position` is published. Not to be changed."""

    next_position: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """The lease does not hold: a newer generation, or nothing more after the end. Nothing written.

    `generation` is the one that the stream has. `stands` is the position behind the last of the
    lease's own frames that are still there, or were there until they were too old; None where it is
    not known. `is_past` when who holds the stream said its start before the lease, and has only
    reclaimed it since: the lease's holder is to reclaim it in turn, whatever the generation.
    """

    generation: int
    stands: int | None = field(default=None, compare=False)
    is_past: bool = field(default=False, compare=False)


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
class Reclaim:
    """A writer's wish to go on with a stream that its destination has forgotten, wholly or partly.

    `lease` is what the writer holds, `run` the name of its run, `opening` how it was started;
    `above` is the highest generation that its process has held of the stream. `owner` is the new
    token, the same when the wish is repeated. `predecessor`, if there is one, is the owner before
    it in the same process, who has just reclaimed it itself; `successors` are the owners behind it
    there, who wait for it to go first.
    """

    lease: Lease
    run: str
    opening: Opening
    has_token: bool
    above: int
    owner: str
    predecessor: str | None = None
    successors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecided:
    """There is an open run, and the sender has not shown yet whether it goes on with it."""


Outcome = Appended | Fenced | Hole | Vanished | Failed
Reclaimed = Grant | Fenced | Failed


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
      before the call that published it returns. Where that call failed in between, whoever begins,
      reclaims or recovers the stream next announces it.
    - Concurrency: calls may overlap; for one stream the caller has one `append` under way.
    - Cancellation: a cancelled call leaves the publisher usable; its effect is unknown.
    """

    @property
    def epoch(self) -> int:
        """A number that grows whenever the destination may have forgotten something.

        That is when a connection to it was lost and made again, or it is another server than
        before. It has grown when the first call that could notice returns.
        """
        ...

    async def begin(
        self,
        opening: Opening,
        *,
        owner: str,
        has_token: bool,
        waited_seconds: float = 0.0,
        again: bool = False,
        epoch: int | None = None,
    ) -> Grant | Undecided | Fenced:
        """Take the next generation of the stream for `owner` and publish its start, in one step.

        The start was said `waited_seconds` ago. If that is `LATE_SECONDS` or more, and whoever has
        begun the stream last said so later by more than that, the answer is `Fenced`, and nothing
        is changed: the newer of two senders keeps the stream, whichever comes through first.

        The open run goes on if `domain.events.goes_on` says so and the format is the same;
        otherwise an open run is first published as ended (`disconnected`, with its ledger) under
        its own generation, and a new run begins. Where it cannot be told yet the answer is
        `Undecided`, and nothing is changed.

        Repeated by the same `owner`, before it has appended anything, it answers the same, and
        announces what was not announced. With `again`, for a call whose outcome is not known, it
        only does that: where `owner` does not hold the stream the answer is `Fenced`, nothing is
        changed, and no earlier call of that owner will begin anything when it arrives late.

        With `epoch` only within that epoch: what the caller knows of the stream is of then.

        Raises:
            NotAllowed: the open run was begun with a token and `has_token` is false; nothing is
                changed.
            PublisherError: the destination could not be written, or the epoch is another; whether
                it was is unknown.

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

    async def reclaim(
        self, reclaims: Sequence[Reclaim], *, epoch: int | None = None
    ) -> Sequence[Reclaimed]:
        """Let writers go on with streams that were forgotten; one outcome for each, in order.

        The stream takes the generation after `above`, and after that which is known, and publishes
        a start; the lease goes on, `said_at_ms` stays what it was. It stands where the
        destination still knows it, or at position 0. `resumed`, with the run's account, if the run
        is the one that is known; with an empty account if the stream is not known at all. If
        another run is known it is first ended, when it is open, as `begin` does, and the writer's
        own run goes on with an empty account, not `resumed`.

        `Fenced`, and nothing changes, for a writer that is not the last: when the destination knows
        a generation above `above`; or one not below the lease's, or said after it, that neither
        the writer nor its `predecessor` holds, nor, where nothing is left of the stream but that,
        one of its `successors`. Not so if that was said before the lease and then reclaimed
        (`Fenced.is_past`). Repeated by the same `owner` it answers the same.
        With `epoch` only within that epoch, as `begin`.

        Raises:
            PublisherError: the destination was not reached, or the epoch is another; no outcome
                is known.

        """
        ...

    async def announce_again(self) -> None:
        """Announce again what was announced in the last seconds and is not known any more.

        For a destination that has come back. How many seconds is the destination's option
        `rewind_seconds`, and no time passes while it is away. Nothing that was forgotten with its
        stream is announced: what goes on is announced anew.

        Raises:
            PublisherError: the destination was not reached.

        """
        ...
