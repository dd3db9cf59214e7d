"""A connection to one of the servers, which reconnects. A process writes over one.

All requests share it, and nothing is sent again implicitly, so a change of the server is always
noticed: each new connection is a new `epoch`. Every address of every server is tried in turn, with
its own time-outs. Reading back uses a second connection, so that long pages do not delay writes.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from adapters.brokers.dialling import Place, connect_socket, limit, look_up, told_together
from adapters.brokers.shared_attempt import CLOSED, SharedAttempt
from adapters.outbound.nats_jetstream.address import Address, Server
from adapters.outbound.nats_jetstream.asking import ANSWER_SECONDS, ask, ask_many
from adapters.outbound.nats_jetstream.failures import (
    MIN_VERSION,
    NO_GREETING,
    NO_HANDSHAKE,
    NO_LOGIN,
    too_old,
    unreached,
)
from adapters.outbound.nats_jetstream.protocol import NatsProtocol, Reply, Request
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

CONNECT_SECONDS = 1.5
HANDSHAKE_SECONDS = 3.0
"""How long an address may take to accept a connection, and then for greeting and TLS handshake."""

LOGIN_SECONDS = 4.0

_log = logging.getLogger(__name__)

_VERSION = re.compile(r"(\d+)\.(\d+)")


class Connection:
    """Connects on its first use, and reconnects on the next use after a loss.

    `prepare` is awaited over each new connection before anything else is sent.
    """

    def __init__(
        self, address: Address, prepare: Callable[[NatsProtocol], Awaitable[None]] | None = None
    ) -> None:
        self._address = address
        self._prepare = prepare
        self._protocol: NatsProtocol | None = None
        self._connecting = SharedAttempt(self._connect)
        self._first = 0
        self._place: Place | None = None
        self._avoided: Place | None = None
        self._is_closed = False
        self.epoch = 0
        """Grows with each connection, and where `doubt` was called."""
        self.version = ""

    async def run(
        self, requests: Sequence[Request], seconds: float = ANSWER_SECONDS
    ) -> Sequence[Reply | PublisherError]:
        """Send requests together; one without an answer has its error in its place.

        Raises:
            PublisherError: no server was reached, so no request has a known answer.

        """
        if not requests:
            return []
        return await ask(await self._connected(), requests, seconds)

    async def run_many(self, request: Request) -> Sequence[Reply]:
        """Send a request with several answers; the last one has a status.

        Raises:
            PublisherError: it was not answered.

        """
        return await ask_many(await self._connected(), request)

    async def connect(self) -> None:
        """Connect, trying as many addresses as necessary.

        Raises:
            PublisherError: no server accepts the log-in.

        """
        await self._connected()

    @property
    def max_payload(self) -> int:
        """The server's limit for a message."""
        return 0 if self._protocol is None else self._protocol.max_payload

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of several."""
        return self._protocol is not None and bool(self._protocol.greeting.result().get("cluster"))

    def doubt(self) -> None:
        """Note that the server may have lost data."""
        self.epoch += 1

    def give_up(self, why: str) -> None:
        """Drop the connection, so that the next one is a new epoch; pending requests fail."""
        if self._protocol is not None:
            self._protocol.abort(ConnectionError(why))

    def move_on(self, why: str) -> None:
        """Drop the connection; the next one is to another address, if one accepts the log-in."""
        if self._protocol is not None and not self._protocol.is_lost and self._place is not None:
            place = self._avoided = self._place
            _log.warning(
                "connection to the broker given up", extra={"reason": why, "broker": place.name}
            )
            self._protocol.abort(ConnectionError(why))

    async def close(self) -> None:
        """Disconnect for good; pending requests fail. Idempotent."""
        self._is_closed = True
        await self._connecting.close()
        self.give_up(CLOSED)

    async def _connected(self) -> NatsProtocol:
        """Return the connected socket; wait for the one attempt that all callers share."""
        if self._is_closed:
            raise BrokerUnavailable(CLOSED)
        if self._protocol is not None and not self._protocol.is_lost:
            return self._protocol
        return await self._connecting.result()

    async def _connect(self) -> NatsProtocol:
        """Try each address of each server until a log-in succeeds; else raise all errors."""
        servers = self._address.servers
        failures: list[tuple[str, PublisherError]] = []
        avoided: list[tuple[int, Place]] = []
        for offset in range(len(servers)):
            number = (self._first + offset) % len(servers)
            server = servers[number]
            try:
                places = await look_up(server.host, server.port)
            except PublisherError as error:
                failures.append((server.name, error))
                continue
            for place in places:
                if place == self._avoided:
                    avoided.append((number, place))
                    continue
                protocol = await self._attempt(number, place, failures)
                if protocol is not None:
                    return protocol
        for number, place in avoided:
            protocol = await self._attempt(number, place, failures)
            if protocol is not None:
                return protocol
        self._first += 1
        raise told_together(failures)

    async def _attempt(
        self, number: int, place: Place, failures: list[tuple[str, PublisherError]]
    ) -> NatsProtocol | None:
        """Try an address of a server; None if it fails, with the error in `failures`."""
        try:
            protocol = await self._try(self._address.servers[number], place)
        except PublisherError as error:
            failures.append((place.name, error))
            return None
        self._first, self._place = number, place
        self.epoch += 1
        self._protocol = protocol
        return protocol

    async def _try(self, server: Server, place: Place) -> NatsProtocol:
        protocol = NatsProtocol()
        try:
            greeting = await self._open(protocol, server, place)
            async with limit(LOGIN_SECONDS, NO_LOGIN):
                protocol.log_in(self._options(greeting))
                await protocol.admitted
            protocol.subscribe()
            if self._prepare is not None:
                await self._prepare(protocol)
        except (OSError, UnicodeError) as error:  # with TimeoutError
            protocol.abort(error)
            raise unreached(error) from error
        except BaseException:
            protocol.abort(ConnectionError("given up"))
            raise
        return protocol

    async def _open(self, protocol: NatsProtocol, server: Server, place: Place) -> dict[str, Any]:
        loop, address = asyncio.get_running_loop(), self._address
        socket_ = await connect_socket(place, CONNECT_SECONDS)
        await loop.create_connection(lambda: protocol, sock=socket_)
        async with limit(HANDSHAKE_SECONDS, NO_GREETING):
            greeting = await protocol.greeting
        self.version = str(greeting.get("version", ""))
        found = _VERSION.match(self.version)
        if found is None or tuple(map(int, found.groups())) < MIN_VERSION:
            raise too_old(self.version)
        has_tls = bool(greeting.get("tls_required") or greeting.get("tls_available"))
        if address.must_have_tls and not has_tls:
            raise BrokerRefused("this server has no TLS: use nats://, or configure it there")
        if address.must_have_tls or greeting.get("tls_required"):
            tls = await address.tls.context()
            async with limit(HANDSHAKE_SECONDS, NO_HANDSHAKE):
                upgraded = await loop.start_tls(
                    protocol.transport, protocol, tls, server_hostname=server.host
                )
            protocol.transport = cast("asyncio.Transport", upgraded)
        return greeting

    def _options(self, greeting: dict[str, Any]) -> dict[str, Any]:
        login = self._address.login
        shows_nothing = login.is_empty and self._address.tls.certfile is None
        if shows_nothing and greeting.get("auth_required"):
            raise BrokerRefused(
                "the server asks for credentials and NATS_URL has none: "
                "nats://USER:PASSWORD@HOST, nats://TOKEN@HOST, or NATS_CREDENTIALS_FILE"
            )
        options: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "echo": False,
            "headers": True,
            "no_responders": True,
            "protocol": 1,
            "name": "rtaa-ingest",
            "lang": "python-rtaa",
            "version": "1",
        }
        credentials = login.credentials
        if credentials is not None:
            nonce = greeting.get("nonce")
            if credentials.jwt is not None:
                options["jwt"] = credentials.jwt
            else:
                options["nkey"] = credentials.public_nkey
            if nonce:
                options["sig"] = credentials.sign(str(nonce))
        elif login.token is not None:
            options["auth_token"] = login.token
        elif login.user is not None:
            options["user"], options["pass"] = login.user, login.password or ""
        return options
