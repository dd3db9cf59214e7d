"""A TCP proxy of our own in front of any server, with faults that are switched while it runs.

It has a thread and a loop to itself, so that tests of either kind can use it and a busy or blocked
test delays no byte. What it cannot do is below TCP: it never drops a SYN, and a server that is away
is seen by a client as a connection that is accepted and then reset, not as one that is refused.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from chaos_wire import CHUNK_BYTES, PLAIN, Conditions, Wire
from closing import Closing
from ports import quiet_port

LIMIT_SECONDS = 10.0


class ChaosProxy(Closing):
    """Passes everything on to `host:port` until it is told to do something worse; use `with`.

    Every fault takes the place of the one before. `existing` and `new` say which connections are
    hit: those that are open now, those that are made from now on.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.host = "127.0.0.1"
        self.port = quiet_port()
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)
        self._server: asyncio.Server | None = None
        self._for_new = PLAIN
        self._wires: dict[asyncio.Task[None], Wire] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to."""
        return self.host, self.port

    @property
    def connections(self) -> int:
        """How many connections are being carried."""
        return len(self._wires)

    @property
    def is_holding(self) -> bool:
        """Whether a connection is in a black hole."""
        return any(wire.conditions.is_black_hole for wire in list(self._wires.values()))

    def impose(self, conditions: Conditions, *, existing: bool = True, new: bool = True) -> None:
        """Let connections go through `conditions`."""
        self._do(lambda: self._impose(conditions, existing=existing, new=new))

    def cut_after(
        self,
        *,
        to_server: int | None = None,
        to_client: int | None = None,
        existing: bool = True,
        new: bool = True,
    ) -> None:
        """Reset each connection when it has carried so many more bytes in that direction."""
        conditions = Conditions(bytes_to_server=to_server, bytes_to_client=to_client)
        self.impose(conditions, existing=existing, new=new)

    def swallow_replies(self, *, existing: bool = True, new: bool = True) -> None:
        """Drop what the server answers; what the client says still arrives."""
        self.impose(Conditions(swallows_replies=True), existing=existing, new=new)

    def delay(
        self,
        *,
        to_server: float = 0.0,
        to_client: float = 0.0,
        existing: bool = True,
        new: bool = True,
    ) -> None:
        """Let bytes arrive these seconds later, in order."""
        conditions = Conditions(seconds_to_server=to_server, seconds_to_client=to_client)
        self.impose(conditions, existing=existing, new=new)

    def black_hole(self, *, existing: bool = True, new: bool = True) -> None:
        """Pass no byte and no end of a connection, either way, and reset nothing."""
        self.impose(Conditions(is_black_hole=True), existing=existing, new=new)

    def hold(self, word: bytes) -> None:
        """Let what is held pass, and hold the next bytes to the server with this among them.

        What follows them on their connection is held as well, either way.
        """
        self.impose(Conditions(black_hole_before=word))

    def reset(self) -> None:
        """Send RST to both ends of all connections, now."""
        self._do(self._reset)

    def refuse(self) -> None:
        """Take no new connections: the kernel refuses them."""
        self._do(self._stop_listening)

    def heal(self) -> None:
        """Be a plain wire again. Connections of which bytes were lost cannot be: they are reset."""
        self._do(self._heal)
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(LIMIT_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(LIMIT_SECONDS)
        return self

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(LIMIT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_SECONDS)
        self._loop.close()

    def _do(self, step: Callable[[], None]) -> None:
        """Do it on the proxy's loop and wait until it is done."""

        async def take_step() -> None:
            step()

        asyncio.run_coroutine_threadsafe(take_step(), self._loop).result(LIMIT_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=CHUNK_BYTES
            )

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        wire = Wire(client, self._for_new)
        task = self._loop.create_task(wire.carry(reader, *self._target))
        self._wires[task] = wire
        task.add_done_callback(self._wires.pop)

    def _impose(self, conditions: Conditions, *, existing: bool, new: bool) -> None:
        if new:
            self._for_new = conditions
        if existing:
            for wire in self._wires.values():
                wire.impose(conditions)

    def _reset(self) -> None:
        for task, wire in self._wires.items():
            wire.reset()
            task.cancel()

    def _heal(self) -> None:
        self._impose(PLAIN, existing=True, new=True)
        for task, wire in self._wires.items():
            if wire.is_spoilt:
                wire.reset()
                task.cancel()

    async def _close(self) -> None:
        self._stop_listening()
        self._reset()
        await asyncio.gather(*self._wires, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the next turn
