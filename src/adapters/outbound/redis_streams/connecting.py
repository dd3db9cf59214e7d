"""Connects to a server: each address of its name in turn, TLS, the log-in, and a check.

Each step has its own time-out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from adapters.brokers.dialling import Place, connect_socket, limit, look_up, told, told_together
from adapters.brokers.telling import NO_CONNECTION
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connection import Connection, Dial, RespProtocol
from adapters.outbound.redis_streams.failures import (
    NO_HANDSHAKE,
    NO_LOGIN,
    closed_before_an_answer,
    translate,
    unreached,
)
from adapters.outbound.redis_streams.resp import Command, ErrorReply
from application.ports.errors import BrokerUnavailable, PublisherError

CONNECT_SECONDS = 1.5
HANDSHAKE_SECONDS = 3.0
"""How long an address may take to accept a connection, enough for one retransmission, and then for
the TLS handshake."""

LOGIN_SECONDS = 4.0
"""How long a connected server may take for the log-in."""

Find = Callable[[], Awaitable[Address]]
Admit = Callable[[RespProtocol], Awaitable[None]]


def connection_to(
    address: Address, *, find: Find | None = None, admit: Sequence[Admit] = ()
) -> Connection:
    """Return a connection to a server, which connects on its first use.

    `find` returns the address of the server before each connection; without it `address` is used.
    `admit` checks a server after the log-in, and raises if it must not be used.
    """
    return Connection(Connecting(address, find, admit))


class Connecting(Dial):
    """Connects to one server. See `connection_to`."""

    def __init__(self, address: Address, find: Find | None, admit: Sequence[Admit]) -> None:
        self.address = address
        self._find = find
        self._admit = admit

    async def __call__(self) -> RespProtocol:
        """Try each address until a log-in succeeds. See `Dial`."""
        if self._find is not None:
            self.address = await self._find()
        failures: list[tuple[str, PublisherError]] = []
        for name, place in await self._places():
            try:
                return await self._try(place)
            except PublisherError as error:
                failures.append((name, error))
        raise told_together(failures)

    async def _places(self) -> Sequence[tuple[str, Place | None]]:
        """Look up where the server is, by the names to tell; None is the path of a socket."""
        address = self.address
        if address.path is not None:
            return [(address.path, None)]
        try:
            return [(it.name, it) for it in await look_up(address.host, address.port)]
        except BrokerUnavailable as error:
            raise told_together([(told(address.host, address.port), error)]) from error.__cause__

    async def _try(self, place: Place | None) -> RespProtocol:
        has_tls = self.address.tls is not None
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
        loop, address = asyncio.get_running_loop(), self.address
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
        address = self.address
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
