"""The one connection over which a process writes: pipelined, and made again when it is lost.

All calls share it and are answered in their order, so nothing waits for a place in a pool, and it
is exactly known when the broker may have become another: each new connection is a new `epoch`.
hiredis packs the commands and reads the replies; redis-py is for reading streams back.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
from redis.exceptions import ResponseError

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.resp import Command, Parts, pack
from application.ports.errors import BrokerUnavailable

Reply = Any
"""What hiredis makes of a RESP2 reply: bytes, int, None, a list of them, or a `ResponseError`."""

CONNECT_SECONDS = 2.0
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

    def __init__(self) -> None:
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
            self._lost = BrokerUnavailable(f"{type(cause).__name__}: {cause}")
            self._lost.__cause__ = cause
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
        if self._lost is not None or self._transport is None:
            raise BrokerUnavailable("the connection to the broker is lost") from self._lost
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
        wire = _Wire()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._open(wire)
            async with asyncio.timeout(STALLED_SECONDS):
                await self._log_in(wire)
        except BaseException as error:
            wire.abort(error)
            if isinstance(error, OSError | TimeoutError | UnicodeError):
                message = str(error) or "no answer in time"
                raise BrokerUnavailable(f"{type(error).__name__}: {message}") from error
            raise
        self._epoch += 1
        return wire

    async def _open(self, wire: _Wire) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        if address.path is not None:
            await loop.create_unix_connection(lambda: wire, address.path)
        else:
            await loop.create_connection(lambda: wire, address.host, address.port, ssl=address.tls)

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
        for reply in await wire.run(commands):
            if isinstance(reply, ResponseError):
                raise translate(reply)
