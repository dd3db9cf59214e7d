"""A connection to a server: pipelined, and made again when it is lost. A process writes over one.

All calls share it and are answered in order, so nothing waits for a connection of a pool, and a
change of the broker is always noticed: each new connection is a new `epoch`. hiredis packs the
commands and reads the replies. Reading back uses a second connection, so that long pages do not
delay writes.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import hiredis

from adapters.brokers.shared_attempt import CLOSED, SharedAttempt
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.failures import unreached
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Parts, Reply, pack
from application.ports.errors import BrokerUnavailable

STALLED_SECONDS = 4.0
"""If a call is given up when the oldest one has waited for longer than this, the connection counts
as dead, even if the peer has not closed it."""

WRITTEN_AT_ONCE_BYTES = 128 * 1024
"""The size of one write: data that the socket does not accept is copied once more."""

_OF_A_REPLICA = ("READONLY", "MASTERDOWN")


class Dial(Protocol):
    """Connects to a server and logs in."""

    address: Address
    """Where the server was found last."""

    async def __call__(self) -> "RespProtocol":
        """Connect, trying as many addresses as necessary.

        Raises:
            PublisherError: no address of the broker lets us in.

        """
        ...


class Connection:
    """Connects on its first use, and reconnects on the next use after a loss."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
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
        return self._dial.address

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._protocol is not None and not self._protocol.is_lost

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Run commands in one round trip; an error reply is in its place.

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
        """Connect, unless it is connected. See `Dial`.

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

    async def _connect(self) -> "RespProtocol":
        protocol = await self._dial()
        self._epoch += 1
        self._protocol = protocol
        return protocol


@dataclass(slots=True)
class _Call:
    """Commands that were sent together; `answer` is done when the last reply has come."""

    answer: asyncio.Future[list[Reply]]
    missing: int
    sent_at: float
    replies: list[Reply] = field(default_factory=list)


class RespProtocol(asyncio.Protocol):
    """One connected socket: matches replies to calls, in order."""

    def __init__(self, *, has_tls: bool) -> None:
        self._has_tls = has_tls
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ErrorReply)
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
        """Fail every pending call. See `asyncio.Protocol`."""
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
        """Close at once; the effect of pending calls is unknown."""
        if self._lost is None:
            self._lost = unreached(cause, has_tls=self._has_tls)
            if self._transport is not None:
                self._transport.abort()
        while self._calls:
            answer = self._calls.popleft().answer
            if not answer.done():
                answer.set_exception(self._lost)

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Send commands and return their replies; error replies are in their places.

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
            # The replies still come and are dropped; unless nothing comes any more.
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
