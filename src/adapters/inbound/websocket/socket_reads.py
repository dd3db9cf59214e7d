"""What the connections of one event loop share to read their sockets, and how they end them."""

import asyncio
import threading

READ_BYTES = 128 * 1024
"""Most that is read from a socket at once; an event loop has one buffer of it."""

EARLY_BYTES = 4 * 1024
"""Most that is read at once of a request. What comes behind a handshake is kept until that is
answered, and no more is read."""

MAX_FRAMES_AT_ONCE = 64
"""Frames that one connection takes in one turn of the loop; then others get their turn."""

FRAMES_A_TURN = 256
MIN_FRAMES_AT_ONCE = 16
"""All connections together take so many frames in a turn, some milliseconds; but each a few."""


class SharedReads(threading.local):
    """The buffer that all sockets of a loop are read into, and the frames of one turn of the loop.

    A loop has its thread, so each has its own of both.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))
        self._frames_left = FRAMES_A_TURN

    def may_take(self, loop: asyncio.AbstractEventLoop) -> int:
        """Return how many frames may be taken now."""
        if self._frames_left == FRAMES_A_TURN:
            loop.call_soon(self._begin_turn)
        most = min(MAX_FRAMES_AT_ONCE, self._frames_left)
        return max(MIN_FRAMES_AT_ONCE, most)

    def note_taken(self, frames: int) -> None:
        """Note that frames were taken in this turn."""
        self._frames_left -= frames

    def _begin_turn(self) -> None:
        self._frames_left = FRAMES_A_TURN


shared_reads = SharedReads()


def accepted_from(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Return the peer's address as the kernel told it when the connection was accepted.

    uvicorn asks the socket, which no longer knows the address of a peer that has reset it.
    """
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None


def cut_off(transport: asyncio.Transport) -> None:
    """Abort, unless the connection is lost: asyncio fails at that if its last bytes went out late.

    What waits to be called holds the transport alone, so that the memory of a connection that is
    lost is free at once.
    """
    if transport.get_protocol() is not None:  # None once it is lost
        transport.abort()
