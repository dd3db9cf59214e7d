"""Access to the two streams over one connection; they are ensured before other requests.

Another server, a stream that was created again or another leader makes a new epoch: entries may be
lost. A server that knows no leader for long may be cut off from the others, which have a leader by
then: the next connection is to another server.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from adapters.brokers.shared_attempt import SharedAttempt
from adapters.outbound.nats_jetstream.address import Address
from adapters.outbound.nats_jetstream.asking import ANSWER_SECONDS
from adapters.outbound.nats_jetstream.connection import Connection
from adapters.outbound.nats_jetstream.failures import STREAM_NOT_FOUND, Leaderless
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.nats_jetstream.protocol import NatsProtocol, Reply, Request
from adapters.outbound.nats_jetstream.streams import Streams
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

_MILLISECONDS = 1_000

LEADERLESS_SECONDS = 10.0
"""How long a server may know no leader: an election takes 4 to 9 s."""


class Access:
    """Sends requests to where the streams are."""

    def __init__(self, address: Address, layout: Layout, options: DestinationOptions) -> None:
        self.layout = layout
        self._streams = Streams(layout, options)
        self._connection = Connection(address, self._prepare)
        self._protocol: NatsProtocol | None = None
        self._places: dict[str, tuple[str, str]] = {}
        self._ensuring = SharedAttempt(self._make_again)
        self._leaderless_since: float | None = None
        self.is_lacking = False
        """Whether a stream was missing at the last request."""

    @property
    def epoch(self) -> int:
        """Grows when the server may have lost data."""
        return self._connection.epoch

    @property
    def connection(self) -> Connection:
        """The connection."""
        return self._connection

    async def run(
        self, sent: Sequence[Request], seconds: float = ANSWER_SECONDS
    ) -> Sequence[Reply | PublisherError]:
        """Send requests together; one without an answer has its error in its place.

        Raises:
            PublisherError: no server was reached.

        """
        await self._connection.connect()
        if self.is_lacking:
            await self._ensuring.result()
        return await self._connection.run(sent, seconds)

    async def run_many(self, request: Request) -> Sequence[Reply]:
        """Send a request that many messages answer. See `Connection.run_many`."""
        return await self._connection.run_many(request)

    @contextmanager
    def asking_leader(self) -> Iterator[None]:
        """Note whether requests in this context reach a leader; leave a server without one."""
        try:
            yield
        except Leaderless as error:
            self._note_leaderless(str(error))
            raise
        except PublisherError:  # a leader refuses, or the connection is lost
            self._leaderless_since = None
            raise
        self.note_led()

    def note_led(self) -> None:
        """Note that a leader has answered."""
        self._leaderless_since = None

    def _note_leaderless(self, error: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._leaderless_since is None:
            self._leaderless_since = now
        elif now - self._leaderless_since >= LEADERLESS_SECONDS:
            self._leaderless_since = None
            self._connection.move_on(error)

    def note_place(self, told: dict[str, Any]) -> None:
        """Examine an answer about a stream: a new stream or leader may lack entries."""
        name = str(told["config"]["name"])
        leader = str((told.get("cluster") or {}).get("leader", ""))
        place = (str(told["created"]), leader)
        before = self._places.get(name)
        self._places[name] = place
        if before is not None and before != place:
            self._connection.doubt()

    def check(self, told: dict[str, Any]) -> None:
        """Check a stream, which an operator may have changed, by an answer about it.

        Raises:
            BrokerRefused: it is unusable: the connection is dropped, and so is each next one until
                the stream is corrected.

        """
        try:
            self._streams.check(told)
        except BrokerRefused as error:
            self._connection.give_up(str(error))
            raise

    def note_lacking(self, found: dict[str, Any] | None = None) -> None:
        """Ensure the streams before the next request, if an error says that one is missing."""
        if found is None or found.get("error", {}).get("err_code") == STREAM_NOT_FOUND:
            self.is_lacking = True

    async def close(self) -> None:
        """Disconnect."""
        await self._ensuring.close()
        await self._connection.close()

    async def _prepare(self, protocol: NatsProtocol) -> None:
        await self._streams.ensure(protocol)
        self._protocol = protocol
        self._places.clear()
        self._leaderless_since = None
        self.is_lacking = False

    async def _make_again(self) -> None:
        """Ensure the streams again after a loss."""
        if self._protocol is None:
            raise BrokerUnavailable("not connected yet")
        await self._streams.ensure(self._protocol)
        self.is_lacking = False
        self._connection.doubt()


def time_of(told: dict[str, Any]) -> int:
    """Return the server's clock in an answer, in milliseconds since 1970."""
    stamp = str(told["ts"])
    seconds, dot, fraction = stamp.rstrip("Z").partition(".")
    at = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
    return round(at) * _MILLISECONDS + int((fraction if dot else "0")[:3].ljust(3, "0"))
