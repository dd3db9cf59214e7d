"""`OpenRuns` over Redis: a sorted set of streams whose scores are their last beats."""

import secrets
from collections.abc import Mapping, Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.announcements import Announcements, Said
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.pipeline import Pipeline, Script
from application.ports.destination import DestinationOptions
from application.ports.open_runs import OpenRuns
from domain.errors import DomainError
from domain.identifiers import StreamId, StreamKey, TenantId

PAGE = 1_000
"""Streams that are read in one round trip."""

BEAT_BITS = 53
"""A beat is random: it only has to be another one. Scores are doubles."""

_RECOVER = Script("recover.lua")
_FORGET_BEAT = Script("forget_beat.lua")


class RedisOpenRuns(OpenRuns):
    """Keeps one set for all processes."""

    def __init__(
        self, connection: Connection, announcements: Announcements, options: DestinationOptions
    ) -> None:
        self._pipeline = Pipeline(connection, (_RECOVER, _FORGET_BEAT))
        self._announcements = announcements
        self._prefix = options.prefix
        self._key = layout.open_key(options.prefix)
        self._ttl_ms = round(options.expire_seconds * 1000)

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new beat. See `OpenRuns.tend`."""
        beat = secrets.randbits(BEAT_BITS)
        scored = [part for stream in streams for part in (beat, str(stream))]
        if scored:
            await self._pipeline.run_one(("ZADD", self._key, *scored))
        else:
            await self._pipeline.run_one(layout.tend_nobody(self._key))

    async def beats(self) -> Mapping[StreamKey, float]:
        """Return the last beats. See `OpenRuns.beats`."""
        beats: dict[StreamKey, float] = {}
        cursor: bytes | int = 0
        while True:
            cursor, found = await self._pipeline.run_one(
                ("ZSCAN", self._key, cursor, "COUNT", PAGE)
            )
            for member, beat in zip(found[::2], found[1::2], strict=True):
                stream = _read_stream(member)
                if stream is not None:
                    beats[stream] = float(beat)
            if int(cursor) == 0:
                return beats

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:
        """End the run of a process that is gone. See `OpenRuns.end_untended`.

        The owner is read before the beat: whoever begins a run tends its stream first, so that
        either the beat is new or the owner is still the one that is gone.
        """
        keys = layout.stream_key(self._prefix, stream), layout.facts_key(self._prefix, stream)
        owner = await self._pipeline.run_one(("HGET", keys[1], "owner"))
        last = await self._pipeline.run_one(("ZSCORE", self._key, str(stream)))
        if last is None or float(last) != beat:
            return False
        has_ended = False
        if owner is not None:
            reply = await self._pipeline.run_one(_RECOVER.call(keys, (owner, self._ttl_ms)))
            has_ended = reply[0] == b"ended"
            await self._announce(Said.due(stream, reply[1]))
        await self._pipeline.run_one(_FORGET_BEAT.call((self._key,), (str(stream), last)))
        return has_ended

    async def _announce(self, said: list[Said]) -> None:
        (failure,) = await self._announcements.make(said)
        if failure is not None:
            raise failure


def _read_stream(member: bytes) -> StreamKey | None:
    """Read a stream's name; None for what somebody else has put there."""
    try:
        tenant_id, _, stream_id = member.decode().partition("/")
        return StreamKey(TenantId(tenant_id), StreamId(stream_id))
    except (UnicodeDecodeError, DomainError):
        return None
