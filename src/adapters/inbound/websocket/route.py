"""The Litestar WebSocket at `/v1/ingest`.

The socket is read and written through the direct methods of our protocol, and with raw ASGI
messages: Litestar's own readers lose binary frames on a text read, and its error handling would
send exception texts to the peer. Refusals are written as HTTP answers here, since Litestar can
refuse a WebSocket only with a bare 403.
"""

from collections.abc import Sequence
from typing import Any

from litestar import WebSocket, websocket
from litestar.handlers import WebsocketRouteHandler

from adapters.inbound.access.gate import Gate
from adapters.inbound.dialects import Dialect
from adapters.inbound.handshake import INGEST_PATH, Handshake
from adapters.inbound.http.path_guard import send_refusal
from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.refusals import Outcome, Refusal
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.connection import Connection
from adapters.inbound.websocket.websocket_guard import DIRECT
from application.call.closing import Leaving
from application.call.roster import Roster
from application.call.services import Services
from domain.access import Principal


def ingest_route(
    gate: Gate, services: Services, reports: Reports, dialects: Sequence[Dialect], roster: Roster
) -> WebsocketRouteHandler:
    """Build the route over which carriers send audio."""
    spoken = frozenset(name for dialect in dialects for name in dialect.subprotocols)

    async def admit(handshake: Handshake, origin: Origin) -> Principal | Refusal:
        try:
            return await gate.enter(handshake, origin)
        except Exception as error:  # noqa: BLE001  # a bug refuses this handshake, and says so
            refusal = Refusal(Outcome.FAILED, "a bug")
            reports.refused(refusal, origin, error=error)
            return refusal

    @websocket(INGEST_PATH)
    async def ingest(socket: WebSocket) -> None:  # type: ignore[type-arg]  # no typed state
        handshake = Handshake.of(socket.scope)
        origin = reports.origin(handshake.peer, handshake.header("x-forwarded-for"))
        with roster.arriving():
            admitted = await admit(handshake, origin)
            if isinstance(admitted, Refusal):
                await send_refusal(socket.send, admitted, "websocket")
                return
        try:
            extensions: Any = socket.scope["extensions"]
            peer = extensions[DIRECT]["peer"]
            connection = Connection(
                services, reports, dialects, admitted, origin, handshake, peer, socket.send
            )
            chosen = _chosen(handshake.subprotocols, spoken)
            if handshake.subprotocols and chosen is None:
                reports.subprotocol_not_chosen(origin)
            try:
                await socket.accept(chosen)
            except OSError:  # uvicorn's `ClientDisconnected`
                reports.left(Leaving.BEFORE_ANSWER, origin, connection.session.context)
                return
            with roster.entered(connection.session):
                await connection.run()
        finally:
            gate.leave()

    return ingest


def _chosen(offered: Sequence[str], spoken: frozenset[str]) -> str | None:
    """Return the first offered subprotocol that a dialect defines."""
    return next((name for name in offered if name in spoken), None)
