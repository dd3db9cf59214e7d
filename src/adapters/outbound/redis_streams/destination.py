"""Redis as a destination: its settings, its connection, what an operator should know of it."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

from redis.exceptions import ResponseError

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.address import ACCEPTED, Address, complaint
from adapters.outbound.redis_streams.advice import advice
from adapters.outbound.redis_streams.announcements import Announcements
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.open_runs import RedisOpenRuns
from adapters.outbound.redis_streams.pipeline import Pipeline, Script, raise_if_error
from adapters.outbound.redis_streams.reader import RedisStreamReader
from adapters.outbound.redis_streams.rights import acl_rule
from adapters.outbound.redis_streams.store import RedisStreamStore
from application.ports.destination import (
    Destination,
    DestinationOptions,
    Problem,
    StoreAdapter,
)

PROBE_MS = 10_000
"""How long what is written to find out whether that is possible lives."""

IMPOSSIBLE_ID = "0-0"
"""No entry can have it: to who may write the broker says just that, and to who may not that."""

_PROBE = Script("probe.lua")


class RedisDestination(Destination):
    """A connection for what is written, and another one for what is read."""

    def __init__(self, options: DestinationOptions, url: str) -> None:
        address = Address.of(url)
        self._connection = Connection(address)
        self._reading = Connection(address)
        self._probe = Pipeline(self._connection, (_PROBE,))
        self._probe_keys = layout.probe_keys(options.prefix)
        self._shared_keys = layout.index_key(options.prefix), layout.open_key(options.prefix)
        announcements = self._announcements = Announcements(self._connection, options)
        self.store = RedisStreamStore(self._connection, announcements, options)
        self.reader = RedisStreamReader(self._reading, options)
        self.open_runs = RedisOpenRuns(self._connection, options)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()
        await self._reading.close()

    async def verify_writable(self) -> None:
        """Do all that publishing does, every command of it.

        With keys of its own that vanish; with those that all streams share, what changes nothing.
        Where the index may have lost starts and ends it is repaired first.
        """
        index, beats = self._shared_keys
        replies = await self._probe.run(
            [
                ("SCRIPT", "LOAD", _PROBE.text),
                _PROBE.call(self._probe_keys, (PROBE_MS,)),
                layout.heartbeat_of_none(beats),
                ("ZSCORE", beats, "none"),
                ("ZSCAN", beats, 0, "COUNT", 1),
                ("XRANGE", index, "0-1", "0-1"),
                ("XADD", index, IMPOSSIBLE_ID, "type", "probe"),
                ("XLEN", index),
            ]
        )
        for reply in replies:
            if isinstance(reply, ResponseError) and IMPOSSIBLE_ID in str(reply):
                continue
            raise_if_error(reply)
        if not replies[-1] and self._announcements.note_empty():  # lost alone: look at all anew
            self._connection.give_up("the index of starts and ends is gone")
        await self._announcements.repair()

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        """Warn of what the broker may lose, or has no room for. See `Destination.advise`."""
        return await advice(self._reading, expected_bytes)


class RedisStreams(StoreAdapter):
    """What the container registers; `PUBSUB_ADAPTER=redis_streams`."""

    name = "redis_streams"
    is_shared = True
    variables = ("REDIS_URL",)

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Check `REDIS_URL`, repeating nothing of it that may be secret."""
        url = environment.get("REDIS_URL", "")
        if not url:
            return [Problem("REDIS_URL", "nothing", ACCEPTED)]
        found = complaint(url)
        return [] if found is None else [Problem("REDIS_URL", found, ACCEPTED)]

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Show `REDIS_URL` without user and password."""
        parts = urlsplit(environment["REDIS_URL"])
        secret, _, address = parts.netloc.rpartition("@")
        shown = f"***@{address}" if secret else address
        return {"REDIS_URL": urlunsplit((parts.scheme, shown, parts.path, parts.query, ""))}

    def grants(self, options: DestinationOptions) -> Sequence[str]:
        """Return the ACL that the broker's user needs."""
        return [acl_rule(options.prefix)]

    def connect(
        self, options: DestinationOptions, environment: Mapping[str, str]
    ) -> RedisDestination:
        """Construct the client; it connects when it is first used."""
        return RedisDestination(options, environment["REDIS_URL"])
