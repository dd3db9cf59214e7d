"""`OpenRuns` over Redis: a sorted set of streams by when they were last tended."""

from collections.abc import Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.announcements import Announcements, Said
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.pipeline import Pipeline, Script
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused
from application.ports.open_runs import OpenRuns
from domain.identifiers import StreamId, StreamKey, TenantId

PAGE = 100
"""Streams that are looked at in one round."""

_RECOVER = Script("recover.lua")


class RedisOpenRuns(OpenRuns):
    """Keeps one set for all processes; the times in it are the broker's."""

    def __init__(
        self, connection: Connection, announcements: Announcements, options: DestinationOptions
    ) -> None:
        self._pipeline = Pipeline(connection, (_RECOVER,))
        self._announcements = announcements
        self._prefix = options.prefix
        self._key = layout.open_key(options.prefix)
        self._ttl_ms = round(options.expire_seconds * 1000)

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Note when these streams were tended. See `OpenRuns.tend`."""
        if streams:
            now_ms = await self._now_ms()
            scored = [part for stream in streams for part in (now_ms, str(stream))]
            await self._pipeline.run_one(("ZADD", self._key, *scored))

    async def untended(self, seconds: float) -> Sequence[StreamKey]:
        """Return those longest untended. See `OpenRuns.untended`."""
        latest = await self._now_ms() - round(seconds * 1000)
        found = await self._pipeline.run_one(
            ("ZRANGEBYSCORE", self._key, "-inf", latest, "LIMIT", 0, PAGE)
        )
        return [_read_stream(member) for member in found]

    async def end_untended(self, stream: StreamKey, seconds: float) -> bool:
        """End the run of a process that is gone. See `OpenRuns.end_untended`.

        The owner is read before the time: whoever begins a run tends its stream first, so that
        either the time is new or the owner is still the one that is gone.
        """
        keys = layout.stream_key(self._prefix, stream), layout.facts_key(self._prefix, stream)
        owner = await self._pipeline.run_one(("HGET", keys[1], "owner"))
        tended_at = await self._pipeline.run_one(("ZSCORE", self._key, str(stream)))
        if tended_at is None or float(tended_at) > await self._now_ms() - seconds * 1000:
            return False
        has_ended = False
        if owner is not None:
            reply = await self._pipeline.run_one(_RECOVER.call(keys, (owner, self._ttl_ms)))
            has_ended = reply[0] == b"ended"
            await self._announce(Said.due(stream, reply[1]))
        await self._pipeline.run_one(("ZREM", self._key, str(stream)))
        return has_ended

    async def _announce(self, said: list[Said]) -> None:
        (failure,) = await self._announcements.make(said)
        if failure is not None:
            raise failure

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._pipeline.run_one(("TIME",))
        return int(seconds) * 1_000 + int(microseconds) // 1_000


def _read_stream(member: bytes) -> StreamKey:
    try:
        tenant_id, _, stream_id = member.decode().partition("/")
        return StreamKey(TenantId(tenant_id), StreamId(stream_id))
    except ValueError as error:
        raise BrokerRefused(f"{member!r} is not one of our streams") from error
