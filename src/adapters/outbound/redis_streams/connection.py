"""A connection to the broker: pipelined, and made again when it is lost. A process writes over one.

All calls share it and are answered in their order, so nothing waits for a place in a pool, and it
is exactly known when the broker may have become another: each new connection is a new `epoch`.
Every address that the broker's name has is tried in turn, within limits of its own.
hiredis packs the commands and reads the replies. What is read back goes over a second one of its
kind, so that long pages keep no write waiting.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
from redis.exceptions import ResponseError

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.failures import (
    NO_CONNECTION,
    NO_HANDSHAKE,
    NO_LOGIN,
    closed_before_an_answer,
    translate,
    unreached,
)
from adapters.outbound.redis_streams.resp import Command, Parts, pack
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

Reply = Any
"""What hiredis makes of a RESP2 reply: bytes, int, None, a list of them, or a `ResponseError`."""

RESOLVE_SECONDS = 10.0
"""How long the name may be looked up: a resolver whose first server is dead asks the second after
some seconds."""

CONNECT_SECONDS = 1.5
HANDSHAKE_SECONDS = 3.0
"""How long an address may take to accept a connection, in which a lost packet is sent once more,
and then for the TLS handshake."""

STALLED_SECONDS = 4.0
"""How long the oldest call may have waited when one is given up: after more the connection counts
as dead, whether the other side has said so or not."""

WRITTEN_AT_ONCE_BYTES = 128 * 1024
"""What is joined for one write: what the socket does not take is copied once more."""


@dataclass(slots=True)
class _Call:
    """Commands that were sent together; `answer` is done when the last reply has come."""

    answer: asyncio.Future[list[Reply]]
    missing: int
    sent_at: float
    replies: list[Reply] = field(default_factory=list)


class _Wire(asyncio.Protocol):
    """One connected socket: matches replies to calls, in order."""

    def __init__(self, *, has_tls: bool) -> None:
        self._has_tls = has_tls
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._calls: deque[_Call] = deque()
        self._transport: asyncio.Transport | None = None
        self._lost: BrokerUnavailable | None = None

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._lost is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every call that waits. See `asyncio.Protocol`."""
        self.abort(exc or ConnectionError("the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take in replies. See `asyncio.Protocol`."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(error)

    def abort(self, cause: BaseException) -> None:
        """Close without a word; calls that wait have an unknown effect."""
        if self._lost is None:
            self._lost = unreached(cause, has_tls=self._has_tls)
            if self._transport is not None:
                self._transport.abort()
        while self._calls:
            answer = self._calls.popleft().answer
            if not answer.done():
                answer.set_exception(self._lost)

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Send commands and return their replies; error replies stand in their places.

        Raises:
            BrokerUnavailable: the connection is lost.

        """
        if self._lost is not None:
            raise BrokerUnavailable(str(self._lost)) from self._lost.__cause__
        if self._transport is None:
            raise BrokerUnavailable("not connected yet")
        written = [
            command if isinstance(command, list) else [pack(command)] for command in commands
        ]  # or nothing is sent: a command that cannot be packed is not
        call = _Call(self._loop.create_future(), len(commands), self._loop.time())
        self._calls.append(call)
        for piece in _joined(written):
            self._transport.write(piece)
        try:
            return await call.answer
        except asyncio.CancelledError:
            # The replies will come, for nobody; unless nothing comes any more.
            if self._calls and self._loop.time() - self._calls[0].sent_at > STALLED_SECONDS:
                self.abort(TimeoutError("the broker does not answer"))
            raise

    def _take(self, reply: Reply) -> None:
        call = self._calls[0]
        call.replies.append(reply)
        call.missing -= 1
        if call.missing == 0:
            self._calls.popleft()
            if not call.answer.done():
                call.answer.set_result(call.replies)


def _joined(commands: Sequence[Parts]) -> Iterator[bytes]:
    """Join what is written of commands into pieces of some size."""
    pieces: Parts = []
    size = 0
    for parts in commands:
        pieces += parts
        size += sum(map(len, parts))
        if size >= WRITTEN_AT_ONCE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)


class Connection:
    """Connects when it is used, and again when it is used after having been lost."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None
        self._epoch = 0
        self._is_closed = False

    @property
    def epoch(self) -> int:
        """How many times it was connected."""
        return self._epoch

    async def run(
        self, commands: Sequence[Command | Parts], epoch: int | None = None
    ) -> list[Reply]:
        """Run commands in one round trip; an error reply stands in its place.

        With `epoch`, only over the connection of that epoch.

        Raises:
            BrokerUnavailable: the broker was not reached, so no command has a known reply.
            BrokerRefused: it does not let us in.

        """
        if not commands:
            return []
        if self._is_closed:
            raise BrokerUnavailable("closed by us")
        wire = self._wire
        if wire is None or wire.is_lost:
            wire = await self._connected()
        if epoch not in (None, self._epoch):
            raise BrokerUnavailable("the connection was lost meanwhile")
        replies = await wire.run(commands)
        for reply in replies:
            if isinstance(reply, ResponseError) and str(reply).startswith("READONLY"):
                # A master that was demoted keeps its connections: look for the new one.
                wire.abort(reply)
                break
        return replies

    async def connect(self) -> None:
        """Be connected, however many addresses must be tried for it.

        Raises:
            PublisherError: no address of the broker lets us in.

        """
        if self._wire is None or self._wire.is_lost:
            await self._connected()

    def give_up(self, why: str) -> None:
        """Lose the connection, so that the next one is another epoch; calls that wait fail."""
        if self._wire is not None:
            self._wire.abort(ConnectionError(why))

    async def close(self) -> None:
        """Disconnect for good. Calls that wait fail; calling it again does nothing."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._wire is not None:
            self._wire.abort(ConnectionError("closed by us"))

    async def _connected(self) -> _Wire:
        """Wait for the one attempt that all callers share; who gives up does not end it."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._note_attempt)
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():  # not who waits here, but the attempt: by `close`
                raise BrokerUnavailable("closed by us") from None
            raise

    def _note_attempt(self, attempt: "asyncio.Task[_Wire]") -> None:
        self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._wire = attempt.result()

    async def _connect(self) -> _Wire:
        """Try each address until one lets us in; tell of each why it does not."""
        failures: list[tuple[str, PublisherError]] = []
        for place in await self._places():
            try:
                wire = await self._try(place)
            except PublisherError as error:
                failures.append((place.name, error))
            else:
                self._epoch += 1
                return wire
        raise _told_together(failures)

    async def _places(self) -> "Sequence[_Place]":
        """Look up where the broker's name leads."""
        address = self._address
        if address.path is not None:
            return [_Place(address.path)]
        name = f"{address.host}:{address.port}"
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(
                    address.host, address.port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            raise BrokerUnavailable(f"{name}: the name was not looked up in time") from None
        except (OSError, UnicodeError) as error:
            raise _told_together([(name, unreached(error, has_tls=False))]) from error
        return [_Place(_shown(name, it[4][:2]), it[0], it[2], it[4]) for it in found]

    async def _try(self, place: "_Place") -> _Wire:
        has_tls = self._address.tls is not None
        wire = _Wire(has_tls=has_tls)
        try:
            await self._open(wire, place)
            async with _limit(STALLED_SECONDS, NO_LOGIN):
                await self._log_in(wire)
        except (OSError, UnicodeError) as error:  # with TimeoutError
            wire.abort(error)
            raise unreached(error, has_tls=has_tls) from error
        except BaseException as error:
            wire.abort(error)
            raise
        return wire

    async def _open(self, wire: _Wire, place: "_Place") -> None:
        loop, address = asyncio.get_running_loop(), self._address
        if place.family is None:
            async with _limit(CONNECT_SECONDS, NO_CONNECTION):
                await loop.create_unix_connection(lambda: wire, place.name)
            return
        socket_ = socket.socket(place.family, socket.SOCK_STREAM, place.protocol)
        try:
            socket_.settimeout(0)  # as asyncio needs it
            async with _limit(CONNECT_SECONDS, NO_CONNECTION):
                await loop.sock_connect(socket_, place.address)
        except BaseException:
            socket_.close()
            raise
        try:
            async with _limit(HANDSHAKE_SECONDS, NO_HANDSHAKE):
                await loop.create_connection(
                    lambda: wire,
                    sock=socket_,
                    ssl=address.tls,
                    server_hostname=address.host if address.tls is not None else None,
                )
        except ConnectionError as error:
            lost = unreached(error, has_tls=address.tls is not None)
            raise closed_before_an_answer(lost, has_tls=address.tls is not None) from error

    async def _log_in(self, wire: _Wire) -> None:
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
            replies = await wire.run(commands)
        except BrokerUnavailable as lost:
            if isinstance(lost.__cause__, ConnectionError):
                raise closed_before_an_answer(lost, has_tls=address.tls is not None) from lost
            raise
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise translate(reply)


@dataclass(frozen=True, slots=True)
class _Place:
    """One address of the broker and how it is told; without a family the path of a socket."""

    name: str
    family: int | None = None
    protocol: int = 0
    address: tuple[Any, ...] = ()


def _shown(name: str, address: Sequence[Any]) -> str:
    """Tell an address, and the name it was found by if that is another."""
    host, port = address
    shown = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return shown if name == f"{host}:{port}" else f"{name} ({shown})"


@asynccontextmanager
async def _limit(seconds: float, message: str) -> AsyncIterator[None]:
    """Limit what is waited for, and say what it means that it took longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(message) from error


def _told_together(failures: Sequence[tuple[str, PublisherError]]) -> PublisherError:
    """Tell of each address why it is none; what may pass at one may pass."""
    passing = any(isinstance(error, BrokerUnavailable) for _, error in failures)
    text = "; ".join(f"{name}: {error}" for name, error in failures)
    together = (BrokerUnavailable if passing else BrokerRefused)(text)
    together.__cause__ = failures[0][1].__cause__
    return together
