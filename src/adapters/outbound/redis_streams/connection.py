"""A connection to a server: pipelined, and made again when it is lost. A process writes over one.

All calls share it and are answered in order, so nothing waits for a connection of a pool, and a
change of the broker is always noticed: each new connection is a new `epoch`. Every address of the
broker's name is tried in turn, with its own time-outs. Reading back uses a second connection, so
that long pages do not delay writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.brokers.dialling import Place, connect_socket, limit, look_up, told, told_together
from adapters.brokers.shared_attempt import CLOSED, SharedAttempt
from adapters.brokers.telling import NO_CONNECTION
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.failures import (
    NO_HANDSHAKE,
    NO_LOGIN,
    closed_before_an_answer,
    translate,
    unreached,
)
from adapters.outbound.redis_streams.protocol import Reply, RespProtocol
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Parts
from application.ports.errors import BrokerUnavailable, PublisherError

CONNECT_SECONDS = 1.5
HANDSHAKE_SECONDS = 3.0
"""How long an address may take to accept a connection, enough for one retransmission, and then for
the TLS handshake."""

LOGIN_SECONDS = 4.0
"""How long a connected server may take for the log-in."""

_OF_A_REPLICA = ("READONLY", "MASTERDOWN")

Find = Callable[[], Awaitable[Address]]
Admit = Callable[[RespProtocol], Awaitable[None]]


class Connection:
    """Connects on its first use, and reconnects on the next use after a loss.

    `find` returns the address of the server before each connection; without it `address` is used.
    `admit` checks a server after the log-in, and raises if it must not be used.
    """

    def __init__(
        self, address: Address, *, find: Find | None = None, admit: Sequence[Admit] = ()
    ) -> None:
        self._address = address
        self._find = find
        self._admit = admit
        self._protocol: RespProtocol | None = None
        self._connecting = SharedAttempt(self._connect)
        self._epoch = 0
        self._is_closed = False

    @property
    def epoch(self) -> int:
        """How many times it was connected."""
        return self._epoch

    @property
    def address(self) -> Address:
        """Where the server was found last."""
        return self._address

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._protocol is not None and not self._protocol.is_lost

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Run commands in one round trip; an error reply stands in its place.

        Raises:
            BrokerUnavailable: the broker was not reached, so no command has a known reply.
            BrokerRefused: it does not let us in.

        """
        if not commands:
            return []
        if self._is_closed:
            raise BrokerUnavailable(CLOSED)
        protocol = self._protocol
        if protocol is None or protocol.is_lost:
            protocol = await self._connecting.result()
        replies = await protocol.run(commands)
        for reply in replies:
            if isinstance(reply, ErrorReply) and str(reply).startswith(_OF_A_REPLICA):
                # A demoted primary keeps its connections: look for the new one.
                protocol.abort(reply)
                break
        return replies

    async def connect(self) -> None:
        """Connect, trying as many addresses as necessary.

        Raises:
            PublisherError: no address of the broker lets us in.

        """
        if self._protocol is None or self._protocol.is_lost:
            await self._connecting.result()

    def give_up(self, why: str) -> None:
        """Drop the connection, so that the next one is a new epoch; pending calls fail."""
        if self._protocol is not None:
            self._protocol.abort(ConnectionError(why))

    async def close(self) -> None:
        """Disconnect for good; pending calls fail. Idempotent."""
        self._is_closed = True
        await self._connecting.close()
        if self._protocol is not None:
            self._protocol.abort(ConnectionError(CLOSED))

    async def _connect(self) -> RespProtocol:
        """Try each address until a log-in succeeds; else raise the error of each."""
        if self._find is not None:
            self._address = await self._find()
        failures: list[tuple[str, PublisherError]] = []
        for name, place in await self._places():
            try:
                protocol = await self._try(place)
            except PublisherError as error:
                failures.append((name, error))
            else:
                self._epoch += 1
                self._protocol = protocol
                return protocol
        raise told_together(failures)

    async def _places(self) -> Sequence[tuple[str, Place | None]]:
        """Look up where the server is, by the names to tell; None is the path of a socket."""
        address = self._address
        if address.path is not None:
            return [(address.path, None)]
        try:
            return [(it.name, it) for it in await look_up(address.host, address.port)]
        except BrokerUnavailable as error:
            raise told_together([(told(address.host, address.port), error)]) from error.__cause__

    async def _try(self, place: Place | None) -> RespProtocol:
        has_tls = self._address.tls is not None
        protocol = RespProtocol(has_tls=has_tls)
        try:
            await self._open(protocol, place)
            async with limit(LOGIN_SECONDS, NO_LOGIN):
                await self._log_in(protocol)
                for admit in self._admit:
                    await admit(protocol)
        except (OSError, UnicodeError) as error:  # with TimeoutError
            protocol.abort(error)
            raise unreached(error, has_tls=has_tls) from error
        except BaseException as error:
            protocol.abort(error)
            raise
        return protocol

    async def _open(self, protocol: RespProtocol, place: Place | None) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        if place is None:
            async with limit(CONNECT_SECONDS, NO_CONNECTION):
                await loop.create_unix_connection(lambda: protocol, address.path)
            return
        socket_ = await connect_socket(place, CONNECT_SECONDS)
        try:
            tls = None if address.tls is None else await address.tls.context()
        except BaseException:
            socket_.close()
            raise
        try:
            async with limit(HANDSHAKE_SECONDS, NO_HANDSHAKE):
                await loop.create_connection(
                    lambda: protocol,
                    sock=socket_,
                    ssl=tls,
                    server_hostname=None if tls is None else address.host,
                )
        except ConnectionError as error:
            lost = unreached(error, has_tls=address.tls is not None)
            raise closed_before_an_answer(lost, has_tls=address.tls is not None) from error

    async def _log_in(self, protocol: RespProtocol) -> None:
        address = self._address
        commands: list[Command] = []
        if address.username is not None:
            commands.append(("AUTH", address.username, address.password or ""))
        elif address.password is not None:
            commands.append(("AUTH", address.password))
        if address.database:
            commands.append(("SELECT", address.database))
        commands.append(("PING",))
        try:
            replies = await protocol.run(commands)
        except BrokerUnavailable as lost:
            if isinstance(lost.__cause__, ConnectionError):
                raise closed_before_an_answer(lost, has_tls=address.tls is not None) from lost
            raise
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise translate(reply)
