"""uvicorn's WebSocket, reading frames itself, and with the holes closed that no setting closes.

It uses internals of the uvicorn that `http_guard` names. Attacks on the stock class, and how they
are handled here:

    ping without reading the pongs                      aborted when 256 KiB of them wait
    send a message in endless empty fragments           1008 after 1024 (`frame_reader`)
    send tens of thousands of tiny frames in one read   read in slices, others get their turn;
                                                        also of what was read before it reset
    send frames before its handshake is answered        not looked at before it is
    send faster than its messages are taken             no more is read when 136 KiB wait
    be told to close and never read it                  aborted 10 s later

A `FrameReader` reads the frames. The library `websockets`, which uvicorn uses, handles the
handshake and sends (`websocket_output`); of the peer's frames it gets only the close, which it
answers.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.protocol import State

from adapters.inbound.websocket.frame_reader import Message
from adapters.inbound.websocket.inbox import Inbox, TakeIn, take_nothing
from adapters.inbound.websocket.socket_reads import (
    EARLY_BYTES,
    accepted_from,
    cut_off,
    shared_reads,
)
from adapters.inbound.websocket.websocket_output import WebSocketOutput

LINGER_SECONDS = 10.0

DIRECT = "rtaa.direct"
"""The ASGI extension by which the application takes messages without awaiting each, text in its
UTF-8, and says something without awaiting: `scope["extensions"][DIRECT]["peer"]` is the
`WebSocketGuard`, of which `take`, `listen`, `say`, `last_reply` and `on_closed` are meant."""

_NOTHING = memoryview(b"")
_SWITCHING_PROTOCOLS = 101


class WebSocketGuard(WebSocketOutput, asyncio.BufferedProtocol):
    """A WebSocket whose peer can cause only little memory and little work at a time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*arguments, **named)
        self.queue: Any = Inbox(self._reader.messages, self.loop)
        self.take: Callable[[], Message | None] = self._reader.take
        """Return the next arrived message: whether it is text (UTF-8), and its bytes."""
        self._view = shared_reads.view
        self._is_reading_on = self._is_over = False
        self._lost: tuple[Exception | None] | None = None

    @property
    def is_handshake_taken(self) -> bool:
        """Whether the application decides the handshake; else it is refused already."""
        return self.conn.parser_exc is None and self.response.status_code == _SWITCHING_PROTOCOLS

    # The socket

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # as uvicorn's
        """Take the connection over."""
        super().connection_made(transport)
        self.client = self.client or accepted_from(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # a hint
        """Return the buffer for the next read: a small one before the handshake is answered."""
        return self._view if self.handshake_complete else self._view[:EARLY_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the data that was read."""
        data = self._view[:nbytes]
        if self._reader.rest:  # only once we have closed: else nothing is read meanwhile
            self._reader.keep(data)
            self._read_rest_soon()
        elif self.handshake_complete:
            self._read_frames(data)
        else:
            self.keep_early(data)

    def keep_early(self, data: bytes | memoryview) -> None:
        """Keep data from before the answer to the handshake, and read no more until then."""
        if self.transport.is_closing():  # it was refused
            return
        self._reader.keep(data)
        self.read_paused = True
        self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle all data from before the connection was lost, then report the loss."""
        self._is_lost = self._reader.drops_pings = True
        self.writable.set()
        is_taken = self.handshake_complete and not (self.close_sent or self._is_over)
        has_rest = self._reader.rest and is_taken
        if has_rest and not self.read_paused:  # in its turns
            self.loop.call_soon(self.connection_lost, exc)
        elif has_rest:  # when there is room
            self._lost = (exc,)
        else:
            self._reader.forget()
            super().connection_lost(exc)

    # From frames to the application

    def _read_frames(self, data: memoryview) -> None:
        """Read as many frames of waiting data and `data` as this turn allows."""
        reader = self._reader
        reader.drops_messages = self.conn.state is not State.OPEN
        shared_reads.note_taken(reader.read(shared_reads.may_take(self.loop), data))
        if reader.controls:
            self._answer_controls()
        if reader.violation is not None:
            self._close_for_violation()
        self._hand_over()

    def _read_rest_soon(self) -> None:
        """Read the rest in a later turn, and nothing from the socket before."""
        self.transport.pause_reading()
        if not self._is_reading_on:
            self._is_reading_on = True
            self.loop.call_soon(self._read_rest)

    def _read_rest(self) -> None:
        self._is_reading_on = False
        if self._reader.rest:
            self._read_frames(_NOTHING)
            self._resume_reading()

    def _resume_reading(self) -> None:
        """Read the socket again, unless other work comes first."""
        if not (self._reader.rest or self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def _hand_over(self) -> None:
        """Let the listener handle the messages.

        The socket is not read as long as frames are left, and no frames are read as long as too
        many messages wait.
        """
        inbox: Inbox = self.queue
        inbox.hand_over()
        if self._reader.violation is not None:  # text, looked at when it was taken
            self._close_for_violation()
        if inbox.messages and not (self.read_paused or self.close_sent):
            self.read_paused = inbox.is_full
        if self.read_paused:
            self.transport.pause_reading()
        elif self._reader.rest:
            self._read_rest_soon()

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if self._reader.rest:
                self._read_rest_soon()
            self._resume_reading()
            if self._lost is not None:
                self.loop.call_soon(self.connection_lost, *self._lost)
                self._lost = None

    async def listen(self, take_in: TakeIn) -> bool:
        """Call `take_in` now if there are messages, and whenever some arrive, until it is False.

        It is called when the socket is read, so no task is woken for a message. Returns False if
        the next item is an event for `receive`. Raises what `take_in` raises.
        """
        inbox: Inbox = self.queue
        wants_more = True
        while wants_more and inbox.messages:
            wants_more = take_in()
            self._close_for_violation()
            if wants_more and inbox.messages:
                await asyncio.sleep(0)  # it takes so much in one turn
        if wants_more and inbox.is_empty:
            self._read_on()
            await inbox.wait(take_in)
        return bool(inbox.messages) or inbox.is_empty

    async def receive(self) -> Any:  # noqa: ANN401  # as uvicorn's
        """Return the next message of ASGI."""
        inbox: Inbox = self.queue
        while not inbox.is_connect_next and await self.listen(take_nothing):
            message = self.take()
            self._close_for_violation()
            if inbox.is_empty:
                self._read_on()
            if message is not None:
                is_text, payload = message
                kind, content = ("text", payload.decode()) if is_text else ("bytes", payload)
                return {"type": "websocket.receive", kind: content}
        return inbox.events.pop(0)

    async def run_asgi(self) -> None:
        """Run the application; cut off a peer that does not read its last output."""
        self.scope["extensions"][DIRECT] = {"peer": self}
        await super().run_asgi()
        self._is_over = True
        if self._lost is not None:
            self.connection_lost(*self._lost)
        self.loop.call_later(LINGER_SECONDS, cut_off, self.transport)
