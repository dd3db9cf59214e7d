"""One connection through the chaos proxy: two sockets, and what the bytes between them go through.

TCP loses nothing out of the middle: a connection that was denied some bytes must never see the
later ones. So bytes of a black hole are held and move on when it is healed, as if sent again, and a
connection of which bytes were dropped is `spoilt`, to be reset and not mended.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, replace

CHUNK_BYTES = 65_536
CHUNKS_ON_THE_WAY = 16
"""What one direction holds at most: 1 MiB of delayed bytes, then its source is not read."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a connection goes through; by default it is a plain wire."""

    seconds_to_server: float = 0.0
    seconds_to_client: float = 0.0
    bytes_to_server: int | None = None
    bytes_to_client: int | None = None
    swallows_replies: bool = False
    is_black_hole: bool = False
    black_hole_before: bytes = b""
    """The wire becomes a black hole when these are among the bytes to the server."""


PLAIN = Conditions()


class Wire:
    """Carries one client's bytes to the server and back."""

    def __init__(self, client: asyncio.StreamWriter, conditions: Conditions) -> None:
        self.conditions = conditions
        self.is_spoilt = False
        self._clear = asyncio.Event()
        self._sides = [client]
        self.impose(conditions)

    def impose(self, conditions: Conditions) -> None:
        """Go through these conditions from the next byte on."""
        self.conditions = conditions
        if conditions.is_black_hole:
            self._clear.clear()
        else:
            self._clear.set()

    def reset(self) -> None:
        """Send RST to the sides that are still open."""
        for side in self._sides:
            if not side.transport.is_closing():
                sock = side.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, host: str, port: int) -> None:
        """Connect to the server and carry bytes until both sides are done, or one fails."""
        try:
            await self._clear.wait()
            server_reader, server = await asyncio.open_connection(host, port, limit=CHUNK_BYTES)
            self._sides.append(server)
            for side in self._sides:
                side.transport.set_write_buffer_limits(0)  # drained is: handed to the kernel
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry_one_way(reader, server, to_server=True))
                both.create_task(self._carry_one_way(server_reader, self._sides[0]))
            for side in self._sides:
                side.close()
                await side.wait_closed()
        except* OSError:
            pass  # a side is gone: the other is told below
        finally:
            self.reset()

    async def _carry_one_way(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, to_server: bool = False
    ) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._take(source, on_the_way, to_server=to_server))
            ends.create_task(self._hand_over(on_the_way, sink, to_server=to_server))

    async def _take(
        self,
        source: asyncio.StreamReader,
        on_the_way: asyncio.Queue[tuple[float, bytes]],
        *,
        to_server: bool,
    ) -> None:
        clock = asyncio.get_running_loop().time
        data = b"-"
        while data:
            try:
                data = await source.read(CHUNK_BYTES)
            except OSError:
                await self._clear.wait()  # not even a reset gets through a black hole
                raise
            how = self.conditions
            seconds = how.seconds_to_server if to_server else how.seconds_to_client
            await on_the_way.put((clock() + seconds, data))

    async def _hand_over(
        self,
        on_the_way: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        *,
        to_server: bool,
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await on_the_way.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            await self._clear.wait()
            word = self.conditions.black_hole_before
            if to_server and word and word in data:
                self.impose(Conditions(is_black_hole=True))
                await self._clear.wait()
            if not data:
                sink.write_eof()
                return
            if self.conditions.swallows_replies and not to_server:
                self.is_spoilt = True
                continue
            passing = self._let_through(data, to_server=to_server)
            sink.write(passing)
            await sink.drain()
            if len(passing) < len(data):
                raise ConnectionAbortedError("cut after the bytes that were granted")

    def _let_through(self, data: bytes, *, to_server: bool) -> bytes:
        """Count what is granted down; the wire is cut at the first byte beyond it."""
        how = self.conditions
        granted = how.bytes_to_server if to_server else how.bytes_to_client
        if granted is None:
            return data
        left = max(0, granted - len(data))
        self.conditions = (
            replace(how, bytes_to_server=left) if to_server else replace(how, bytes_to_client=left)
        )
        return data[:granted]
