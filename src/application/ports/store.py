"""The port that stores streams: it compares and appends, and decides nothing.

Which entries follow which head is decided by the pure rules in `domain`. A store keeps, for every
stream, its entries and one `Head`, and changes both in one step if the stream's revision is the one
that the writer expects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from application.ports.errors import PublisherError
from domain.fold import Segment
from domain.head import Head, Revision
from domain.identifiers import StreamKey


@dataclass(frozen=True, slots=True)
class Mark:
    """The entry at a position, with the generation that wrote it."""

    generation: int
    position: int


BEGINNING = Mark(0, 0)


@dataclass(slots=True)
class Append:
    """Entries of one stream and the head behind them. Not to be changed.

    They are stored if the stream's revision is `expected`; None: if there is no such stream. The
    entries of `segments` take consecutive positions, up to `head.next_position`; there may be none.
    Entries in front of `keep_from` are older than retention: the store removes them.
    """

    stream: StreamKey
    expected: Revision | None
    segments: Sequence[Segment]
    head: Head
    keep_from: Mark = BEGINNING


@dataclass(frozen=True, slots=True)
class Appended:
    """The entries and the head are stored."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The revision is another; nothing is changed. `head` is where the stream stands."""

    head: Head | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The store did not answer for this stream; whether it stored anything is unknown."""

    error: PublisherError


Outcome = Appended | Conflict | Failed

APPENDED = Appended()


@dataclass(frozen=True, slots=True)
class Heads:
    """Where streams stand, in the order asked for; None for a stream that the store does not know.

    `now_ms` is the store's own clock: milliseconds since 1970, the same for all processes.
    """

    now_ms: int
    heads: Sequence[Head | Failed | None]


class StreamStore(Protocol):
    """Stores entries and heads of streams.

    Promises, each held by the contract tests:

    - Durable: what is `Appended` is readable by every process when the call returns.
    - All or nothing: an append stores all its entries and its head, or changes nothing, also when
      memory or a right runs out in the middle.
    - Compare and set: of two appends that expect the same revision at most one is stored. A late
      append, or one sent again, that expects a revision of the past changes nothing.
    - Idempotent: an append that was stored and is sent again gets a `Conflict` whose head is its
      own.
    - Dense: entries take the positions that their head says; the store changes neither.
    - Independent: streams do not appear in one another, and none waits for another.
    - Announced: every `Started` and `Ended` is announced to the store's followers at least once
      before the append that stored it returns; also if an earlier call stored it and failed before
      it announced it, by the next append or read of heads of that stream.
    - Bytes are bytes: every `AudioFrame` and every signal is read back as it was.
    - Cancelled: a cancelled call has an unknown effect and leaves the store usable.
    """

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """Return where streams stand, as seen by the server that takes writes.

        A head whose entries are gone has `entries_lost`. Entries without a head make one with
        `account_lost`: its revision stands for its last entry, its lease has the generation of
        that, no owner and 0 as its time. The revisions of both are of the store's making, are
        matched by an append that expects them while nothing has changed, and that append replaces
        everything.

        Raises:
            PublisherError: the store was not reached.

        """
        ...

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """Store appends, at most one for a stream; one outcome for each, in order.

        Callers give up after 5 s: answer `Failed` for a stream that is stuck by itself.

        Raises:
            PublisherError: the store was not reached; whether anything was stored is unknown.

        """
        ...

    def epoch_of(self, stream: StreamKey) -> int:
        """Return a number that grows whenever the store may have lost something of the stream.

        That is when the connection to its server is another, or the server is. It has grown when
        the first call that could notice returns.
        """
        ...

    def part_of(self, stream: StreamKey) -> str:  # noqa: ARG002  # for overriders
        """Return the part of the store that a stream is in now: one of `Destination.parts`.

        A call names streams of one part if its caller knows the parts, and the calls for different
        parts are made side by side. Default: there is one part.
        """
        return ""
