"""The shared buffer and frame budget of an event loop's connections, and their abort."""

import asyncio
import threading

READ_BYTES = 128 * 1024
"""The maximum that is read from a socket at once; an event loop has one such buffer."""

EARLY_BYTES = 4 * 1024
"""The maximum that is read of a request at once. Data after a handshake is kept until the answer,
and no more is read."""

MAX_FRAMES_AT_ONCE = 64
"""The maximum of frames that one connection handles in one turn of the loop."""

FRAMES_A_TURN = 256
MIN_FRAMES_AT_ONCE = 16
"""The maximum of frames of all connections in a turn, some milliseconds; each may have a few."""


class SharedReads(threading.local):
    """The buffer that all sockets of a loop are read into, and the frames of one turn of the loop.

    Each loop has its own thread, and its own instance of both.
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
    """Return the peer's address that the kernel reported when the connection was accepted.

    uvicorn asks the socket, which no longer knows the address of a peer that has reset it.
    """
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None


def cut_off(transport: asyncio.Transport) -> None:
    """Abort, unless the connection is lost, in which case asyncio may fail.

    The scheduled callback references only the transport, so that the memory of a lost connection is
    freed at once.
    """
    if transport.get_protocol() is not None:  # None once it is lost
        transport.abort()
