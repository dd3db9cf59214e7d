"""The first stage of every request: HEAD, and the choice of the port's application."""

from typing import Any

from litestar.types import ASGIApp, Receive, Send


class Front:
    """Passes a request to the application of its port, and a HEAD as the corresponding GET.

    The answer to HEAD ends with its headers: an endless body would never end it.
    """

    def __init__(
        self,
        public: ASGIApp,
        operations: ASGIApp | None = None,
        operations_port: int | None = None,
    ) -> None:
        self._public = public
        self._operations = operations or public
        self._operations_port = operations_port

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # ASGI
        """Serve a connection; the lifespan is that of the public application."""
        if scope["type"] == "lifespan":
            await self._public(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        server = scope["server"]
        is_operations = server is not None and server[1] == self._operations_port
        await (self._operations if is_operations else self._public)(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Return a `send` that ends an answer with its headers; to the application the peer leaves."""
    has_ended = False

    async def send_head(message: Any) -> None:  # noqa: ANN401  # ASGI
        nonlocal has_ended
        if not has_ended:
            has_ended = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head
