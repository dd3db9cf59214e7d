"""`StreamPublisher` over Redis: every write is one script, so that it happens whole or not at all.

A plain pipeline of XADD is not safe: when the broker refuses one in the middle the later ones are
stored, and sending the missing ones again is answered like a repetition. The scripts know the
next position and the generation, write only what continues the stream, and stop at an error.
"""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.failures import translate, translate_reply
from adapters.outbound.redis_streams.pipeline import Pipeline, Reply, Script, raise_if_error
from application.ports.destination import DestinationOptions
from application.ports.publisher import (
    Appended,
    Batch,
    Failed,
    Fenced,
    Hole,
    Lease,
    Outcome,
    StreamPublisher,
    Undecided,
    Vanished,
)
from domain.errors import NotAllowed
from domain.events import InteractionEnded, Opening
from domain.identifiers import InteractionId, StreamKey
from domain.interaction import Account, Grant

_BEGIN = Script("begin.lua")
_APPEND = Script("append.lua")


class RedisStreamPublisher(StreamPublisher):
    """Publishes through one client, whose own retries must be off: they repeat whole pipelines."""

    def __init__(self, client: Redis, options: DestinationOptions) -> None:
        self._pipeline = Pipeline(client, (_BEGIN, _APPEND))
        self._prefix = options.prefix
        self._ttl_ms = round(options.expire_seconds * 1000)

    async def begin(
        self, opening: Opening, *, owner: str, has_token: bool, again: bool = False
    ) -> Grant | Undecided | Fenced:
        """Take the next generation and publish the start. See `StreamPublisher.begin`."""
        arguments = (
            owner,
            int(has_token),
            *layout.continuation_arguments(opening.continuation),
            layout.format_name(opening.media),
            layout.opening_json(opening),
            self._ttl_ms,
            int(again),
        )
        (reply,) = await self._pipeline.run([_BEGIN.call(self._keys(opening.stream), arguments)])
        raise_if_error(reply)
        if reply[0] == b"forbidden":
            raise NotAllowed("the open run was begun with a token")
        if reply[0] == b"undecided":
            return Undecided()
        if reply[0] == b"fenced":
            return Fenced(int(reply[1]))
        _, generation, resumed, position, first_seq, last_seq, ledger, closed_run = reply
        grant = Grant(
            int(generation),
            resumed == b"1",
            layout.read_account(position, first_seq, last_seq, ledger),
        )
        await self._announce_start(opening, grant, closed_run)
        return grant

    async def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Publish a batch of each stream in one pipeline. See `StreamPublisher.append`."""
        calls = [
            _APPEND.call(self._keys(batch.lease.stream), self._append_arguments(batch))
            for batch in batches
        ]
        outcomes = [_outcome(reply) for reply in await self._pipeline.run(calls)]
        await self._announce_ends(batches, outcomes)
        return outcomes

    async def standing(self, lease: Lease) -> Account | Fenced | Vanished:
        """Read where the stream stands. See `StreamPublisher.standing`."""
        stream, facts = self._keys(lease.stream)
        names = ("generation", "owner", "next", "first_seq", "last_seq", "ledger", "state")
        exists, held = await self._pipeline.run([("EXISTS", stream), ("HMGET", facts, *names)])
        raise_if_error(exists)
        raise_if_error(held)
        generation, owner, *account = held
        if generation is None or not exists:
            return Vanished()
        if int(generation) != lease.generation or owner.decode() != lease.owner:
            return Fenced(int(generation))
        return layout.read_account(*account)

    def _keys(self, stream: StreamKey) -> tuple[str, str]:
        return layout.stream_key(self._prefix, stream), layout.facts_key(self._prefix, stream)

    def _append_arguments(self, batch: Batch) -> list[bytes | str | int]:
        account = batch.account
        arguments: list[bytes | str | int] = [
            batch.lease.generation,
            batch.lease.owner,
            batch.first_position,
            "" if account.first_seq is None else account.first_seq,
            "" if account.last_seq is None else account.last_seq,
            layout.ledger_json(account.ledger),
            account.state.value,
            batch.keep_from.position,
            batch.keep_from.generation,
            self._ttl_ms,
        ]
        for event in batch.events:
            arguments += layout.entry_arguments(event)
        return arguments

    async def _announce_start(self, opening: Opening, grant: Grant, closed_run: bytes) -> None:
        announcements = []
        if closed_run:
            closed_at, closed_id = closed_run.decode().split()
            announcements.append(
                layout.announcement(
                    self._prefix,
                    opening.stream,
                    InteractionId(closed_id),
                    grant.generation - 1,
                    int(closed_at),
                    has_ended=True,
                )
            )
        position = grant.account.next_position
        announcements.append(
            layout.announcement(
                self._prefix,
                opening.stream,
                opening.interaction_id,
                grant.generation,
                position,
                has_ended=False,
            )
        )
        for reply in await self._pipeline.run(announcements):
            raise_if_error(reply)

    async def _announce_ends(self, batches: Sequence[Batch], outcomes: list[Outcome]) -> None:
        """Announce published ends; where that fails, nobody knows of the end: so the batch did."""
        ended = [
            (index, event, batch)
            for index, batch in enumerate(batches)
            if isinstance(outcomes[index], Appended)
            for event in batch.events
            if isinstance(event, InteractionEnded)
        ]
        if not ended:
            return
        replies = await self._pipeline.run(
            [
                layout.announcement(
                    self._prefix,
                    batch.lease.stream,
                    batch.interaction_id,
                    batch.lease.generation,
                    event.position,
                    has_ended=True,
                )
                for _, event, batch in ended
            ]
        )
        for (index, _, _), reply in zip(ended, replies, strict=True):
            if isinstance(reply, RedisError):
                outcomes[index] = Failed(translate(reply))


def _outcome(reply: Reply) -> Outcome:
    if isinstance(reply, RedisError):
        return Failed(translate(reply))
    match reply:
        case [b"appended", next_position]:
            return Appended(int(next_position))
        case [b"fenced", generation]:
            return Fenced(int(generation))
        case [b"hole", next_position]:
            return Hole(int(next_position))
        case [b"vanished"]:
            return Vanished()
        case [b"failed", _, error]:
            return Failed(translate_reply(error))
    raise AssertionError(f"append.lua answered {reply!r}")
