"""The primary that a majority of Sentinels names, and no other.

A replaced primary may be back for some seconds before it is demoted, and would confirm entries that
the new one never gets. So the Sentinels are asked regularly, not only after a failure. When a
majority names another server, the connection is dropped, which begins a new epoch, and entries that
the old one confirmed meanwhile are replayed. Without a majority for longer than
`down-after-milliseconds` the broker counts as away: we may be on the wrong side of a network
partition.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Sequence

from adapters.brokers.standing_task import StandingTask
from adapters.brokers.telling import with_hint
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from adapters.outbound.redis_streams.connection import Connection, RespProtocol
from adapters.outbound.redis_streams.replies import failure_of
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Parts, Reply
from adapters.outbound.redis_streams.server import Pipeline, ServerLink
from adapters.outbound.redis_streams.slots import Key
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

ASK_EVERY_SECONDS = 0.5
ASK_SECONDS = 0.5
"""How often the Sentinels are asked, and how long each may take."""

FIRST_ASK_SECONDS = 4.0
"""How long a Sentinel may take if it has to be connected to first."""

DOWN_AFTER_SECONDS = 5.0
"""The assumed down-after-milliseconds if no Sentinel returns it."""

LOGIN = (
    "the Sentinels' user and password are their own: ?sentinel_username=USER&sentinel_password="
    "PASSWORD, both percent-encoded, in REDIS_URL; without a password there, none"
)

_NO_LOGIN = re.compile(r"^(WRONGPASS|NOAUTH)|without any password configured|for 'auth'")

Told = tuple[str, int]

_log = logging.getLogger(__name__)


class Sentinels:
    """Asks all Sentinels at once who the primary is."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sentinels = [connection_to(seed) for seed in target.seeds]
        self._named: Told | None = None
        self.down_after_seconds: float | None = None

    async def primary(self) -> Address:
        """Return the server that a majority names.

        Raises:
            BrokerUnavailable: none is named by a majority.
            BrokerRefused: the Sentinels that answer know no primary of that name.

        """
        await self._learn_down_after()
        told = await self._ask(FIRST_ASK_SECONDS)
        place = self._majority(told)
        if place is not None:
            if place != self._named:
                self._named = place
                _log.info(
                    "the Sentinels name the primary", extra={"primary": f"{place[0]}:{place[1]}"}
                )
            return self._target.at(*place)
        raise self._why_none(told)

    async def named(self) -> Address | None:
        """Return the server that a majority names now; None if there is none."""
        place = self._majority(await self._ask(ASK_SECONDS))
        return None if place is None else self._target.at(*place)

    async def close(self) -> None:
        """Disconnect for good."""
        for sentinel in self._sentinels:
            await sentinel.close()

    def _majority(self, told: Sequence[Told | PublisherError]) -> Told | None:
        votes = Counter(it for it in told if not isinstance(it, PublisherError))
        for place, count in votes.most_common(1):
            if count > len(self._sentinels) // 2:
                return place
        return None

    def _why_none(self, told: Sequence[Told | PublisherError]) -> PublisherError:
        needed, of = len(self._sentinels) // 2 + 1, len(self._sentinels)
        failures = [str(it) for it in told if isinstance(it, PublisherError)]
        text = f"no primary is named by {needed} of {of} Sentinels"
        text = "; ".join([text, *dict.fromkeys(failures)])
        is_for_good = len(failures) == of and all(isinstance(it, BrokerRefused) for it in told)
        return (BrokerRefused if is_for_good else BrokerUnavailable)(text)

    async def _ask(self, seconds: float) -> list[Told | PublisherError]:
        """Ask all concurrently, and wait only until there is a majority."""
        told: list[Told | PublisherError] = []
        asked = {asyncio.create_task(self._ask_one(it, seconds)) for it in self._sentinels}
        try:
            while asked and self._majority(told) is None:
                done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                told += [task.result() for task in done]
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return told

    async def _ask_one(self, sentinel: Connection, seconds: float) -> Told | PublisherError:
        name, at = self._target.name, f"{sentinel.address.host}:{sentinel.address.port}"
        try:
            async with asyncio.timeout(seconds):
                (reply,) = await sentinel.run([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)])
        except TimeoutError:
            return BrokerUnavailable(f"Sentinel {at} does not answer")
        except PublisherError as error:
            return _of_sentinel(at, error)
        failure = failure_of(reply)
        if failure is not None:
            return _of_sentinel(at, failure)
        if reply is None:
            return BrokerRefused(f"Sentinel {at} knows no primary named {name}")
        host, port = reply
        return host.decode(), int(port)

    async def _learn_down_after(self) -> None:
        """Ask how long a Sentinel waits before it calls the primary down."""
        for sentinel in self._sentinels:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    (reply,) = await sentinel.run([("SENTINEL", "MASTER", self._target.name)])
            except (TimeoutError, PublisherError):
                continue
            if isinstance(reply, list):
                told = dict(zip(reply[::2], reply[1::2], strict=False))
                milliseconds = told.get(b"down-after-milliseconds")
                if milliseconds is not None:
                    self.down_after_seconds = int(milliseconds) / 1_000
                    return


def _of_sentinel(at: str, error: PublisherError) -> PublisherError:
    """Name the Sentinel; if it refuses the log-in, say how to log in at Sentinels."""
    cause = error.__cause__
    text = str(error)
    if isinstance(cause, ErrorReply) and _NO_LOGIN.search(str(cause)):
        text = with_hint(str(cause).partition(" ")[0], LOGIN)
    found = type(error)(f"Sentinel {at}: {text}")
    found.__cause__ = cause
    return found


async def admit_primary(protocol: RespProtocol) -> None:
    """Refuse a server that is not a primary by its own account.

    Raises:
        BrokerUnavailable: it is a replica; a failover may be in progress.

    """
    (role,) = await protocol.run([("ROLE",)])
    failure = failure_of(role)
    if failure is not None:
        raise failure
    if role[0] != b"master":
        raise BrokerUnavailable("the server that the Sentinels name is still a replica")


class SentinelLink(ServerLink):
    """A connection to the primary, dropped when another server becomes the primary."""

    def __init__(self, pipeline: Pipeline, sentinels: Sentinels) -> None:
        super().__init__(pipeline)
        self._sentinels = sentinels
        self._watching = StandingTask(self._watch)

    async def run(self, commands: Sequence[Command | Parts], keys: Sequence[Key]) -> list[Reply]:
        """Run commands. See `Link.run`."""
        self._watching.ensure()
        return await super().run(commands, keys)

    async def run_at(self, part: str, commands: Sequence[Command]) -> list[Reply]:
        """Run commands. See `Link.run_at`."""
        self._watching.ensure()
        replies = await super().run_at(part, commands)
        self.down_after_seconds = self._sentinels.down_after_seconds
        return replies

    async def close(self) -> None:
        """Disconnect. See `Link.close`."""
        await self._watching.close()
        await super().close()
        await self._sentinels.close()

    async def _watch(self) -> None:
        """Drop the connection when the primary has changed or is no longer known."""
        clock = asyncio.get_running_loop().time
        named_at = clock()
        while True:
            await asyncio.sleep(ASK_EVERY_SECONDS)
            named = await self._sentinels.named()
            now, at = clock(), self._connection.address
            if named is not None:
                named_at = now
            if named is not None and (named.host, named.port) != (at.host, at.port):
                self._give_up("the Sentinels name another primary")
            elif named is None and now - named_at > (
                self._sentinels.down_after_seconds or DOWN_AFTER_SECONDS
            ):
                self._give_up("no majority of the Sentinels names a primary")

    def _give_up(self, why: str) -> None:
        if self._connection.is_connected:
            at = self._connection.address
            _log.warning(
                "connection to the broker given up",
                extra={"reason": why, "broker": f"{at.host}:{at.port}"},
            )
            self._connection.give_up(why)
