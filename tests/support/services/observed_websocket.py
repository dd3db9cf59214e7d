"""`WebSocketGuard` alone: a real uvicorn on a port whose application writes down all it is told.

Nothing here waits by the clock: what the server has read, and what its application has taken, is
told through one condition.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Self

import uvicorn
from raw_websocket import LIMIT_SECONDS, Peer
from waiting import wait_until

from adapters.inbound.websocket.http_guard import HttpGuard
from adapters.inbound.websocket.websocket_guard import WebSocketGuard

MAX_BYTES = 256 * 1024

_changed = threading.Condition()


def _tell() -> None:
    with _changed:
        _changed.notify_all()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so; looked at when the server has read, or its application has taken."""
    with _changed:
        assert _changed.wait_for(condition, LIMIT_SECONDS), "the condition did not come true"


class Observed(WebSocketGuard):
    """Tells what it has read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.reads: list[int] = []

    def buffer_updated(self, nbytes: int) -> None:
        self.reads.append(nbytes)
        super().buffer_updated(nbytes)
        _tell()


class Session:
    """One connection, as the application sees it.

    An application that `takes` so many messages waits until it may take more; one that `aborts` or
    closes (`closes_with`) does so at once when it is given its first message.
    """

    def __init__(
        self,
        *,
        accepts: bool = True,
        takes: int | None = None,
        echoes: bool = False,
        aborts: bool = False,
        closes_with: int | None = None,
    ) -> None:
        self.messages: list[str | bytes] = []
        self.disconnects: list[tuple[int, str]] = []
        self.is_over = self._is_leaving = False
        self.protocol: Any = None
        self._send: Any = None
        self._accepting = asyncio.Event()
        if accepts:
            self._accepting.set()
        self._permits = None if takes is None else asyncio.Semaphore(takes)
        self._echoes = echoes
        self._aborts = aborts
        self._closes_with = closes_with

    async def run(self, receive: Any, send: Any) -> None:
        """Be the application; listen on until the connection is lost."""
        self.protocol, self._send = receive.__self__, send
        await receive()
        _tell()
        await self._accepting.wait()
        try:
            await send({"type": "websocket.accept"})
            while not (self.protocol.disconnected and self.protocol.queue.is_empty):
                if self._permits is not None:
                    await self._permits.acquire()
                if self._is_leaving:
                    return
                await self._take(await receive())
                _tell()
        finally:
            self.is_over = True
            _tell()

    async def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.disconnect":
            self.disconnects.append((event["code"], event.get("reason", "")))
            return
        kind = "text" if "text" in event else "bytes"
        message = event[kind]
        assert event == {"type": "websocket.receive", kind: message}
        assert type(message) is (str if kind == "text" else bytes)
        self.messages.append(message)
        if self._echoes:
            await self._send({"type": "websocket.send", kind: message})
        if len(self.messages) == 1:
            if self._aborts:
                self.protocol.transport.abort()
            if self._closes_with is not None:
                await self._send({"type": "websocket.close", "code": self._closes_with})

    @property
    def read_bytes(self) -> int:
        """How much was read from the socket since the handshake."""
        return sum(self.protocol.reads)

    def accept(self) -> None:
        """Accept a connection that was dialled with `accepts=False`."""
        self._loop.call_soon_threadsafe(self._accepting.set)

    def take(self, more: int) -> None:
        """Let the application take `more` messages or disconnects."""

        def release() -> None:
            assert self._permits is not None
            for _ in range(more):
                self._permits.release()

        self._loop.call_soon_threadsafe(release)

    def leave(self) -> None:
        """Have an application that waits until it may take more end, without a close."""
        self._is_leaving = True
        self.take(1)

    def close(self, code: int, reason: str = "") -> None:
        """Have the application close."""
        self._say({"type": "websocket.close", "code": code, "reason": reason})

    def say(self, data: bytes) -> None:
        """Have the application send."""
        self._say({"type": "websocket.send", "bytes": data})

    def shut_down(self) -> None:
        """Do to this connection what uvicorn does to each when it shuts down."""

        async def shut_down() -> None:
            self.protocol.shutdown()

        asyncio.run_coroutine_threadsafe(shut_down(), self._loop).result(LIMIT_SECONDS)

    def _say(self, event: dict[str, Any]) -> None:
        sending = asyncio.run_coroutine_threadsafe(self._send(event), self._loop)
        sending.result(LIMIT_SECONDS)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self.protocol.loop
        return loop

    def end(self) -> list[str | bytes]:
        """Wait until the connection is lost and everything taken; return the messages."""
        wait_for(lambda: self.is_over)
        return self.messages


class SessionPeer(Peer):
    """A peer, and what became of what it sent."""

    def __init__(self, port: int, path: str, session: Session, **named: Any) -> None:
        super().__init__(port, path, **named)
        self.session = session

    def send_apart(self, *segments: bytes) -> None:
        """Send each segment after the server has read the one before."""
        for segment in segments:
            until = self.session.read_bytes + len(segment)
            self.send(segment)
            wait_for(lambda until=until: self.session.read_bytes >= until)  # type: ignore[misc]


class _Complaints(logging.Handler):
    def __init__(self, server: "ObservedServer") -> None:
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.complaints.append(record.getMessage())


class _Server(uvicorn.Server):
    loop: asyncio.AbstractEventLoop
    on_error: Callable[[dict[str, Any]], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.on_error(context))
        await super().startup(sockets)


class ObservedServer:
    """uvicorn on a thread and a port, configured as the service's; `with` starts and stops it."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._numbers = count(1)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.complaints: list[str] = []
        """What was logged, or raised in the loop, and should not have been."""
        self._server = _Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                http=HttpGuard,
                ws=Observed,
                ws_max_size=MAX_BYTES,
                ws_ping_interval=None,
                ws_ping_timeout=None,
                ws_per_message_deflate=False,
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._server.on_error = self._note
        self._thread = threading.Thread(target=self._run, name="observed", daemon=True)
        self._handler = _Complaints(self)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self._sessions[scope["path"]].run(receive, send)

    def _note(self, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context['message']}: {context.get('exception')!r}")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception as error:  # noqa: BLE001  # whatever it is, a test has to see it
            self.complaints.append(f"the server ended by {error!r}")

    def dial(self, *, receive_buffer: int = 0, early: bytes = b"", **session: Any) -> SessionPeer:
        """Connect; `session` are the arguments of `Session`."""
        path = f"/{next(self._numbers)}"
        found = self._sessions[path] = Session(**session)
        peer = SessionPeer(self.port, path, found, receive_buffer=receive_buffer, early=early)
        if session.get("accepts", True):
            peer.shake()
        wait_for(lambda: found.protocol is not None)
        return peer

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Keep the loop from turning: what is sent meanwhile is all there when it turns again."""
        is_stopped, goes = threading.Event(), threading.Event()

        def stop() -> None:
            is_stopped.set()
            goes.wait(LIMIT_SECONDS)

        self._server.loop.call_soon_threadsafe(stop)
        assert is_stopped.wait(LIMIT_SECONDS)
        try:
            yield
        finally:
            goes.set()

    def turn(self, times: int = 5) -> None:
        """Wait until the loop has turned so often, and has looked at its sockets each time."""

        async def turns() -> None:
            for _ in range(times):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(turns(), self._server.loop).result(LIMIT_SECONDS)

    def __enter__(self) -> Self:
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(self._handler)
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def stop(self) -> None:
        """Shut it down as SIGTERM would."""
        self._server.should_exit = True
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"

    def __exit__(self, *error: object) -> None:
        self.stop()
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).removeHandler(self._handler)
