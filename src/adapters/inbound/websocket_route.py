"""The Litestar WebSocket at `/v1/ingest`.

The socket is read and written by the direct ways of our protocol, and with raw ASGI messages:
Litestar's own readers lose binary frames on a text read, and its error handling would put exception
texts on the wire. Refusals are sent as HTTP answers by hand too, since Litestar can refuse a
WebSocket with a bare 403 only.
"""

import logging
from typing import Any
from urllib.parse import parse_qsl

from litestar import WebSocket, websocket
from litestar.handlers import WebsocketRouteHandler
from litestar.types import Send

from adapters.inbound.calls import Calls
from adapters.inbound.conversation import Conversation
from adapters.inbound.gate import Gate, HttpRefusal
from adapters.inbound.roster import Roster
from adapters.inbound.uvicorn_protocols import DIRECT

INGEST_PATH = "/v1/ingest"

_log = logging.getLogger(__name__)


def ingest_route(gate: Gate, calls: Calls, roster: Roster) -> WebsocketRouteHandler:
    """Build the route over which carriers send audio."""
    spoken = frozenset(name for dialect in calls.dialects for name in dialect.subprotocols)

    @websocket(INGEST_PATH)
    async def ingest(socket: WebSocket) -> None:  # type: ignore[type-arg]  # no typed state
        client = socket.scope["client"]
        with roster.arriving():
            admitted = await gate.enter(client and client[0], list(socket.scope["headers"]))
            if isinstance(admitted, HttpRefusal):
                await _refuse(socket.send, admitted)
                return
        try:
            await socket.accept(_chosen(socket.scope["subprotocols"], spoken))
            query = dict(parse_qsl(socket.scope["query_string"].decode("latin-1")))
            extensions: Any = socket.scope["extensions"]
            peer = extensions[DIRECT]["peer"]
            conversation = Conversation(calls, admitted, query, peer, socket.send)
            with roster.entered(conversation):
                await conversation.run()
        finally:
            gate.leave()

    return ingest


def _chosen(offered: list[str], spoken: frozenset[str]) -> str | None:
    """Return the first subprotocol offered that a dialect names.

    What is offered is not logged: some senders put a token there.
    """
    chosen = next((name for name in offered if name in spoken), None)
    if offered and chosen is None:  # a line for each handshake
        _log.warning(
            "subprotocols are offered of which no dialect names one: accepted without, upon which"
            " some clients (Node's ws, browsers) fail the connection"
        )
    return chosen


async def _refuse(send: Send, refusal: HttpRefusal) -> None:
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": list(refusal.headers),
        }
    )
    await send(
        {
            "type": "websocket.http.response.body",
            "body": refusal.body,
            "more_body": False,
        }
    )
