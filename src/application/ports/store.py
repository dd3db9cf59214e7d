"""The port that stores streams: it compares and appends, and decides nothing.

The pure rules in `domain` decide which entries follow which head. For every stream a store keeps
its entries and one `Head`, and changes both in one step if the stream's revision is the expected
one.
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
    """Entries of one stream and the head after them. Do not mutate it.

    They are stored if the stream's revision is `expected`; None means that there is no such stream.
    The entries of `segments` take consecutive positions, up to `head.next_position`; there may be
    none. Entries before `keep_from` are older than the retention: the store removes them.
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
    """The revision is another one, and nothing is changed. `head` is the one found."""

    head: Head | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The store did not answer for this stream; it is unknown whether it stored anything."""

    error: PublisherError


Outcome = Appended | Conflict | Failed

APPENDED = Appended()


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of streams, in the requested order; None for an unknown stream.

    `now_ms` is the store's own clock: milliseconds since 1970, the same for all processes.
    """

    now_ms: int
    heads: Sequence[Head | Failed | None]


class StreamStore(Protocol):
    """Stores entries and heads of streams.

    Promises, each checked by the contract tests:

    - Durable: what is `Appended` is readable by every process when the call returns.
    - All or nothing: an append stores all its entries and its head, or changes nothing, also if
      memory runs out or a right is lost in the middle.
    - Compare and set: of two appends that expect the same revision at most one is stored. A late
      append, or one sent again, that expects a revision of the past changes nothing.
    - Idempotent: an append that was stored and is sent again gets a `Conflict` whose head is its
      own.
    - Dense: entries take the positions that their head says; the store changes neither.
    - Independent: streams do not mix, and none waits for another.
    - Announced: every `Started` and `Ended` is announced to the store's followers at least once
      before the append that stored it returns; also if an earlier call stored it and failed before
      it announced it, by the next append or read of heads of that stream.
    - Bytes are bytes: every `AudioFrame` and every signal is read back unchanged.
    - Cancelled: a cancelled call has an unknown effect and leaves the store usable.
    """

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """Return the heads of streams, as seen by the server that takes writes.

        If the entries are lost, the head has `entries_lost`. If the head is lost, the store derives
        one with `account_lost` from the entries: its revision represents the last entry; its lease
        has the generation of that entry, no owner and the time 0. The store makes the revisions of
        both. An append that expects such a revision succeeds if nothing has changed, and replaces
        everything.

        Raises:
            PublisherError: the store was not reached.

        """
        ...

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """Store appends, at most one for a stream; one outcome for each, in order.

        Callers give up after 5 s: answer `Failed` for a stream that is stuck alone.

        Raises:
            PublisherError: the store was not reached; whether anything was stored is unknown.

        """
        ...

    def epoch_of(self, stream: StreamKey) -> int:
        """Return a number that grows whenever the store may have lost data of the stream.

        That is, after a new connection or a change of the server. It must have grown when the first
        call that could notice this returns.
        """
        ...

    def part_of(self, stream: StreamKey) -> str:  # noqa: ARG002  # for overriders
        """Return the part of the store that has the stream now: one of `Destination.parts`.

        A caller that knows the parts names streams of one part in each call, and makes the calls
        for different parts concurrently. Default: there is one part.
        """
        return ""
