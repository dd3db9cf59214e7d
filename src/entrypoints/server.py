"""The uvicorn server as this service needs it."""

import asyncio
import ctypes
import gc
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from adapters.inbound.websocket.http_guard import HttpGuard
from adapters.inbound.websocket.socket_reads import cut_off
from adapters.inbound.websocket.websocket_guard import WebSocketGuard
from adapters.outbound.worker_board import Slot
from application.call.roster import Roster
from entrypoints.advice import log_advice
from entrypoints.app import create_app
from entrypoints.container import Container
from entrypoints.event_loop import run
from entrypoints.listening import OUT_OF_DESCRIPTORS, too_late
from entrypoints.logs import configure_logs
from entrypoints.reload import Reload
from entrypoints.settings import Settings
from entrypoints.start_line import log_start
from entrypoints.stop_signals import AT_ONCE, STOP_SIGNALS, StopSignals

MAX_MESSAGE_BYTES = 256 * 1024
"""Largest WebSocket message; 100,000 bytes of audio are 133,336 characters of base64."""

SHUTDOWN_SECONDS = 2
"""How long connections and their tasks may continue after the drain."""

UNREAD_SECONDS = 0.5
"""How long a peer then has to read its last replies."""

KEEP_ALIVE_SECONDS = 75
"""How long an HTTP connection may be idle: longer than the 60 s of most balancers. If the service
closed first, a balancer could send a request at that moment, and answer 502."""

COLLECTOR_THRESHOLDS = (50_000, 20, 50)
"""Objects made and not freed before the youngest are looked at; how often older ones are."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

KEPT_FREE_BYTES = 8 * 1024 * 1024
FROM_KERNEL_BYTES = 1024 * 1024
"""How much free memory is kept, and the maximum size of pieces allocated from it."""

COMPLAIN_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LoopFailures:
    """Handles uncaught exceptions of the event loop; `asyncio` defines `context`.

    Out of descriptors the loop reports each listening socket, which is logged at a limited rate.
    Everything else is logged normally.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log one failure."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS):
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + COMPLAIN_SECONDS
            _log.error("no connection can be accepted", extra={"error": str(error)})


class IngestServer(uvicorn.Server):
    """Drains before it shuts down, exits with status 0 after SIGTERM, and runs background tasks.

    Stock uvicorn stops listening first and closes every WebSocket with 1012 before a last ack. Here
    handshakes are answered with 503 until all calls have ended.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        roster: Roster,
        flush: Callable[[float, Callable[[], bool]], Awaitable[None]],
        beside: Callable[[], Awaitable[None]],
        on_drained: Callable[[], Awaitable[None]],
        reload: Reload,
        stop_signals: StopSignals,
        on_listening: Callable[[list[socket.socket]], None],
    ) -> None:
        super().__init__(config)
        self.stop_signals = stop_signals
        self._reload = reload
        self._on_listening = on_listening
        self._settings = settings
        self._roster = roster
        self._flush = flush
        self._beside = beside
        self._on_drained = on_drained
        self._beside_task: asyncio.Future[None] | None = None
        self.has_failed = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop."""
        run(self.serve(sockets), self._settings.coalesce_seconds)

    def fail(self) -> None:
        """Shut down because the service has failed, so that the platform restarts it."""
        self.has_failed = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then start the background tasks without waiting for them.

        Raises:
            InvalidSettings: another process has begun to listen there since `sockets` were bound.

        """
        if not sockets:
            raise ValueError("no socket to listen on")
        self._reload.listen()
        try:
            await super().startup(sockets)
        except OSError as error:
            await self.lifespan.shutdown()
            raise too_late(error, sockets, self._settings.ports) from error
        self._on_listening(sockets)
        asyncio.get_running_loop().set_exception_handler(LoopFailures())
        _spare_the_collector()
        _keep_free_memory()
        self._beside_task = asyncio.ensure_future(self._beside())
        self._beside_task.add_done_callback(_log_failure)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the background tasks, drain, then stop serving."""
        if self._beside_task is not None:
            self._beside_task.cancel()
        if not self.has_failed:
            await self._drain()
        await self._on_drained()
        cutting = asyncio.create_task(self._cut_off_unread(), name="cutting off")
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()
        await self._reload.close()

    async def _cut_off_unread(self) -> None:
        """Abort the connections of peers that do not read, since they would delay the exit."""
        while True:
            await asyncio.sleep(UNREAD_SECONDS)
            for connection in tuple(self.server_state.connections):
                if connection.transport.get_write_buffer_size():
                    cut_off(connection.transport)

    async def _drain(self) -> None:
        """End all calls, then publish the remaining audio, including that of ended calls.

        Both share the drain's time, which an absent broker may use up.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        drain_seconds = self._settings.calls.drain_seconds
        cut = await self._roster.drain(drain_seconds, lambda: self.force_exit)
        await self._flush(began + drain_seconds - loop.time(), lambda: self.force_exit)
        figures = {"seconds": round(loop.time() - began, 1), "calls_cut": cut}
        if self.force_exit:
            _log.warning("drain ended at once by a repeated signal", extra=figures)
        else:
            _log.info("drained", extra=figures)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's
        """Drain at the first signal, exit at once at a repetition. See `StopSignals`."""
        self.stop_signals.note(sig)
        self.should_exit = True
        self.force_exit = self.stop_signals.is_repeated

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the stop signals, in the main thread.

        uvicorn would restore the handlers and raise each captured signal again after the shutdown,
        which would kill the process; here the process chooses its exit status.
        """
        if threading.current_thread() is threading.main_thread():
            self.stop_signals.listen(self.handle_exit)
        yield


def _spare_the_collector() -> None:
    """Run the cycle collector rarely, and never on objects that live as long as the process.

    Frames are freed by reference counting and make no cycles, so scanning all held objects again
    and again finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _keep_free_memory() -> None:
    """Let glibc return freed memory only if there is much of it; no effect on other libraries.

    By default it returns half a megabyte. Audio is allocated and freed faster than that: a returned
    page would be requested and cleared again a moment later, which took a twelfth of the time of a
    large frame.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
        mallopt(M_MMAP_THRESHOLD, FROM_KERNEL_BYTES)


def _log_failure(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("what is done beside serving has failed", exc_info=error)


def build_server(settings: Settings, slot: Slot | None = None) -> IngestServer:
    """Build the server of one process, which has a `slot` if it is one of several.

    - The protocols are uvicorn's h11 and websockets-sansio, hardened; the latter is its WebSocket
      with real TCP back-pressure and right close codes.
    - No pings: an agentstream sender must not get any, and a sender that we do not read, because
      the broker is slow, cannot answer one. Silence is judged by `IDLE_TIMEOUT_SECONDS`.
    - No compression: it costs memory per connection and audio does not shrink.
    - No proxy headers: which of them to trust is `TRUSTED_PROXY_HOPS`' to say.
    - No access log: its lines hold query strings.
    - asyncio's own event loop (`event_loop`), also where another is installed: `WebSocketGuard` is
      read by asyncio's rules (uvloop would not ask it for its buffer).
    """
    worker = None if slot is None else slot.number
    writer = configure_logs(settings.logging.log_level, settings.logging.log_format, worker)
    container = Container(settings=settings, slot=slot)
    container.telemetry().watch_log(lambda: writer.dropped)
    if (tracer := container.tracer()) is not None:
        container.telemetry().watch_spans(lambda: tracer.dropped)
    admit_sender = container.admit_sender()
    config = uvicorn.Config(
        create_app(container, on_failure=lambda: server.fail()),  # noqa: PLW0108  # made below
        http=type(
            "Http",
            (HttpGuard,),
            {
                "request_seconds": settings.calls.start_timeout_seconds,
                "reports": container.reports(),
                "operations_port": settings.listening.operations_port,
            },
        ),
        ws=WebSocketGuard,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = IngestServer(
        config,
        settings,
        container.roster(),
        container.sender().flush,
        lambda: log_advice(container.destination(), settings),
        container.audience().close,
        Reload(settings, lambda new: admit_sender.replace(new.access_policy, new.token_verifier)),
        StopSignals(STOP_SIGNALS if slot is None else (*STOP_SIGNALS, AT_ONCE)),
        lambda sockets: _log_listening(settings, sockets, slot),
    )
    return server


def _log_listening(settings: Settings, sockets: list[socket.socket], slot: Slot | None) -> None:
    """Log where the service listens; a worker only logs that it has joined."""
    if slot is None:
        log_start(settings, sockets, workers=1)
    else:
        _log.info("worker listens", extra={"pid": os.getpid()})
