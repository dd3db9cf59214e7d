"""`StreamPublisher` over Redis: every write is one script, so that it happens whole or not at all.

A plain pipeline of XADD is not safe: when the broker refuses one in the middle the later ones are
stored, and sending the missing ones again is answered like a repetition. The scripts know the
next position and the generation, write only what continues the stream, and stop at an error.
"""

from collections.abc import Sequence
from time import monotonic

from redis.exceptions import ResponseError

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.announcements import Announcements, Said
from adapters.outbound.redis_streams.connection import Connection, Reply
from adapters.outbound.redis_streams.failures import translate, translate_reply
from adapters.outbound.redis_streams.pipeline import Pipeline, Script, raise_if_error
from adapters.outbound.redis_streams.resp import Command, Parts, begin_parts, pack_arguments
from application.ports.destination import DestinationOptions
from application.ports.publisher import (
    LATE_SECONDS,
    Appended,
    Batch,
    Failed,
    Fenced,
    Hole,
    Lease,
    Outcome,
    Reclaim,
    Reclaimed,
    StreamPublisher,
    Undecided,
    Vanished,
)
from domain.account import Grant, State
from domain.errors import NotAllowed
from domain.events import InteractionEnded, Opening
from domain.identifiers import StreamKey

_BEGIN = Script("begin.lua")
_APPEND = Script("append.lua")

_LEASE_ARGUMENTS = 9
_BATCH_ARGUMENTS = 7
"""What `_append_call` says of the lease, the command and its keys included, and of the batch."""

_LATE_MS = round(LATE_SECONDS * 1_000)

PROMPT_SECONDS = 1.0
"""How long the broker may take to say what time it is, for that to be of some use."""

_MOST_HEADS = 4_096
"""Leases whose head is kept, some 400 bytes each; when there are more all are written anew."""


class RedisStreamPublisher(StreamPublisher):
    """Publishes through one connection, which repeats nothing by itself."""

    def __init__(
        self, connection: Connection, announcements: Announcements, options: DestinationOptions
    ) -> None:
        self._connection = connection
        self._pipeline = Pipeline(connection, (_BEGIN, _APPEND))
        self._announcements = announcements
        self._prefix = options.prefix
        self._ttl_ms = round(options.expire_seconds * 1000)
        self._heads: dict[str, tuple[Lease, bytes]] = {}

    @property
    def epoch(self) -> int:
        """Grows with each new connection. See `StreamPublisher.epoch`."""
        return self._connection.epoch

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
        """Take the next generation and publish the start. See `StreamPublisher.begin`."""
        call = self._begin_call(
            opening,
            owner,
            layout.continuation_arguments(opening.continuation),
            0 if again else await self._said_at_ms(waited_seconds, epoch),
            _LATE_MS if waited_seconds >= LATE_SECONDS else "",
            has_token=has_token,
            again=again,
        )
        (reply,) = await self._pipeline.run([call], epoch)
        raise_if_error(reply)
        if reply[0] == b"forbidden":
            raise NotAllowed("the open run was begun with a token")
        if reply[0] == b"undecided":
            return Undecided()
        if reply[0] == b"fenced":
            return Fenced(int(reply[1]))
        (failure,) = await self._announcements.make(Said.due(opening.stream, reply[7]))
        if failure is not None:
            raise failure
        return _grant(reply)

    async def reclaim(
        self, reclaims: Sequence[Reclaim], *, epoch: int | None = None
    ) -> Sequence[Reclaimed]:
        """Go on with streams that were forgotten. See `StreamPublisher.reclaim`."""
        calls = [
            self._begin_call(
                wish.opening,
                wish.owner,
                ("reclaim", ""),
                wish.lease.said_at_ms,
                "",
                wish.lease.generation,
                wish.lease.owner,
                wish.above,
                wish.predecessor or "",
                wish.run,
                *wish.successors,
                has_token=wish.has_token,
            )
            for wish in reclaims
        ]
        replies = await self._pipeline.run(calls, epoch)
        outcomes: list[Reclaimed] = [_reclaimed(reply) for reply in replies]
        granted = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Grant)]
        said = [Said.due(reclaims[i].lease.stream, replies[i][7]) for i in granted]
        failures = await self._announcements.make(*said)
        for i, failure in zip(granted, failures, strict=True):
            if failure is not None:
                outcomes[i] = Failed(failure)
        return outcomes

    async def announce_again(self) -> None:
        """Announce what the index has forgotten. See `StreamPublisher.announce_again`."""
        await self._announcements.restore()

    async def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Publish a batch of each stream in one pipeline. See `StreamPublisher.append`."""
        calls = [self._append_call(batch) for batch in batches]
        replies = await self._pipeline.run(calls)
        outcomes = [_outcome(reply) for reply in replies]
        await self._announce_ends(batches, replies, outcomes)
        return outcomes

    def _keys(self, stream: StreamKey) -> tuple[str, str]:
        return layout.stream_key(self._prefix, stream), layout.facts_key(self._prefix, stream)

    def _append_call(self, batch: Batch) -> Parts:
        account, keep_from = batch.account, batch.keep_from
        entries = layout.ENTRY_ARGUMENTS * len(batch.events)
        parts = begin_parts(_LEASE_ARGUMENTS + _BATCH_ARGUMENTS + entries, self._head(batch.lease))
        of_batch = (
            batch.first_position,
            "" if account.first_seq is None else account.first_seq,
            "" if account.last_seq is None else account.last_seq,
            layout.ledger_json(account.ledger),
            account.state,
            keep_from.position,
            keep_from.generation,
        )
        parts.append(pack_arguments(of_batch))
        for event in batch.events:
            layout.add_entry(parts, event)
        return parts

    def _head(self, lease: Lease) -> bytes:
        """Write what is the same in all calls under a lease; the last that were used are kept."""
        known = self._heads.get(lease.owner)
        if known is not None and known[0] is lease:
            return known[1]
        arguments = (lease.generation, lease.owner, lease.said_at_ms, self._ttl_ms)
        head = pack_arguments(_APPEND.call(self._keys(lease.stream), arguments))
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[lease.owner] = lease, head
        return head

    def _begin_call(
        self,
        opening: Opening,
        owner: str,
        continuation: tuple[str, int | str],
        said_at_ms: int,
        late_ms: int | str,
        *reclaim: str | int,
        has_token: bool,
        again: bool = False,
    ) -> Command:
        keys = *self._keys(opening.stream), layout.given_up_key(self._prefix, opening.stream, owner)
        return _BEGIN.call(
            keys,
            (
                owner,
                int(has_token),
                *continuation,
                layout.format_name(opening.media),
                layout.opening_json(opening),
                self._ttl_ms,
                int(again),
                said_at_ms,
                late_ms,
                *reclaim,
            ),
        )

    async def _said_at_ms(self, waited_seconds: float, epoch: int | None) -> int:
        """Tell by the broker's clock what was `waited_seconds` ago when this was called.

        It is asked once more when it was slow to answer: it may just have come back.
        """
        called_at = monotonic()
        (reply,) = await self._connection.run([("TIME",)], epoch)
        if monotonic() - called_at > PROMPT_SECONDS:
            (reply,) = await self._connection.run([("TIME",)], epoch)
        raise_if_error(reply)
        seconds, microseconds = map(int, reply)
        ago = waited_seconds + monotonic() - called_at
        return round(seconds * 1_000 + microseconds / 1_000 - ago * 1_000)

    async def _announce_ends(
        self, batches: Sequence[Batch], replies: Sequence[Reply], outcomes: list[Outcome]
    ) -> None:
        """Announce published ends; where that fails, nobody knows of the end: so the batch did."""
        ended = [
            (
                index,
                Said(
                    batch.lease.stream,
                    batch.interaction_id,
                    batch.lease.generation,
                    event.position,
                    replies[index][3].decode(),
                    resumed=replies[index][2] == b"1",
                    has_ended=True,
                ),
            )
            for index, batch in enumerate(batches)
            if batch.account.state is State.ENDED and isinstance(outcomes[index], Appended)
            for event in batch.events
            if isinstance(event, InteractionEnded)
        ]
        failures = await self._announcements.make(*([said] for _, said in ended))
        for (index, _), failure in zip(ended, failures, strict=True):
            if failure is not None:
                outcomes[index] = Failed(failure)


def _grant(reply: Reply) -> Grant:
    _, generation, resumed, position, first_seq, last_seq, ledger, _, run, said_at_ms = reply
    account = layout.read_account(position, first_seq, last_seq, ledger)
    return Grant(int(generation), resumed == b"1", account, run.decode(), int(said_at_ms))


def _reclaimed(reply: Reply) -> Reclaimed:
    if isinstance(reply, ResponseError):
        return Failed(translate(reply))
    return Fenced(int(reply[1])) if reply[0] == b"fenced" else _grant(reply)


def _outcome(reply: Reply) -> Outcome:
    if isinstance(reply, ResponseError):
        return Failed(translate(reply))
    if reply[0] == b"appended":  # as nearly always
        return Appended(int(reply[1]))
    match reply:
        case [b"fenced", generation, stands, is_past]:
            return Fenced(int(generation), int(stands) if stands else None, is_past == b"1")
        case [b"hole", next_position]:
            return Hole(int(next_position))
        case [b"vanished"]:
            return Vanished()
        case [b"failed", _, error]:
            return Failed(translate_reply(error))
    raise AssertionError(f"append.lua answered {reply!r}")
