"""What every request passes before the routes: HEAD, and which port it came to."""

from typing import Any

from litestar.types import ASGIApp, Receive, Send


class Front:
    """Hands a request to the application of its port, a HEAD as the GET that it asks about.

    The server leaves the body of an answer to HEAD out by itself.
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
            scope = {**scope, "method": "GET"}
        server = scope["server"]
        is_operations = server is not None and server[1] == self._operations_port
        await (self._operations if is_operations else self._public)(scope, receive, send)
