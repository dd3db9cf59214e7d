"""`OpenRuns` over Redis: a sorted set of streams whose scores are their last heartbeats."""

import secrets
from collections.abc import Mapping, Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.scripts import SCRIPTS
from application.ports.destination import DestinationOptions
from application.ports.open_runs import OpenRuns
from domain.errors import DomainError
from domain.identifiers import StreamId, StreamKey, TenantId

PAGE = 1_000
"""Streams that are read in one round trip."""

HEARTBEAT_BITS = 53
"""A heartbeat is random: it only has to be another one. Scores are doubles."""

_FORGET = SCRIPTS["forget_heartbeat"]


class RedisOpenRuns(OpenRuns):
    """Keeps one set for all processes."""

    def __init__(self, link: Link, options: DestinationOptions) -> None:
        self._link = link
        self._key = layout.open_key(options.prefix)

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new heartbeat. See `OpenRuns.heartbeat`."""
        heartbeat = secrets.randbits(HEARTBEAT_BITS)
        scored = [part for stream in streams for part in (heartbeat, str(stream))]
        if scored:
            await self._link.run_one(("ZADD", self._key, *scored), self._key)
        else:
            await self._link.run_one(layout.heartbeat_of_none(self._key), self._key)

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeats. See `OpenRuns.heartbeats`."""
        heartbeats: dict[StreamKey, float] = {}
        cursor: bytes | int = 0
        while True:
            cursor, found = await self._link.run_one(
                ("ZSCAN", self._key, cursor, "COUNT", PAGE), self._key
            )
            for member, heartbeat in zip(found[::2], found[1::2], strict=True):
                stream = _read_stream(member)
                if stream is not None:
                    heartbeats[stream] = float(heartbeat)
            if int(cursor) == 0:
                return heartbeats

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove a stream with this heartbeat. See `OpenRuns.forget`."""
        call = _FORGET.call((self._key,), (str(stream), int(heartbeat)))
        await self._link.run_one(call, self._key)


def _read_stream(member: bytes) -> StreamKey | None:
    """Read a stream's name; None for what another program has put there."""
    try:
        tenant_id, _, stream_id = member.decode().partition("/")
        return StreamKey(TenantId(tenant_id), StreamId(stream_id))
    except (UnicodeDecodeError, DomainError):
        return None
