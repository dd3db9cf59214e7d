"""Refuses and reports requests that no route accepts.

Litestar refuses a WebSocket on another path with 403, which looks like a refused address, does not
log it, and cannot name the upgrade that `/v1/ingest` needs. A HEAD arrives as the corresponding GET
(`front.py`).
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils import normalize_path

from adapters.inbound.reporting.refusals import Headers, Outcome, Refusal
from adapters.inbound.reporting.reports import Reports, values

MAX_SEGMENTS = 6
"""Parts of a path that a log line shows."""

OURS = frozenset({
    "", "v1", "ingest", "health", "live", "ready", "metrics", "schema", "openapi.json",
    "asyncapi.json", "events", "docs",
})  # fmt: skip
"""The segments of served paths; no other segments are shown."""

_HOST = re.compile(rb"[0-9A-Za-z!$&'()*+,;=\-._~:\[\]@%]*\Z")
"""The characters of a Host header (RFC 3986, 3.2.2), as Litestar reads it."""

_WEBSOCKET_HEADERS = (b"upgrade", b"sec-websocket-key", b"sec-websocket-version")


class PathGuard:
    """Passes requests to `app` that one of its routes accepts.

    `methods` are those of its HTTP routes by path; only `websocket_path`, if any, takes WebSockets.
    """

    def __init__(
        self,
        app: ASGIApp,
        reports: Reports,
        methods: Mapping[str, frozenset[str]],
        websocket_path: str | None,
    ) -> None:
        self._app = app
        self._reports = reports
        self._methods = methods
        self._websocket_path = websocket_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        asked: Any = scope
        refusal = None
        if asked["type"] == "websocket":
            refusal = self._refusal_of_websocket(asked)
        elif asked["type"] == "http":
            refusal = self._refusal_of_request(asked)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            self._report(refusal, asked)
            await send_refusal(send, refusal, asked["type"])

    def _refusal_of_websocket(self, scope: Mapping[str, Any]) -> Refusal | None:
        if normalize_path(scope["path"]) != self._websocket_path:
            where = f"at {self._websocket_path}" if self._websocket_path else "on PORT"
            return Refusal(Outcome.WRONG_PATH, f"WebSockets are taken {where}")
        return _refusal_of_host(scope["headers"])

    def _refusal_of_request(self, scope: Mapping[str, Any]) -> Refusal | None:
        path, method = normalize_path(scope["path"]), scope["method"]
        is_websocket_path = path == self._websocket_path
        methods = frozenset({"GET"}) if is_websocket_path else self._methods.get(path)
        if methods is None:
            return Refusal(Outcome.WRONG_PATH, "there is nothing at this path")
        if method not in methods:
            answered = methods | {"HEAD"} if "GET" in methods else methods
            allowed = ", ".join(sorted(answered)).encode()
            return Refusal(Outcome.WRONG_METHOD, "not a method of this path", [(b"allow", allowed)])
        return _NO_UPGRADE if is_websocket_path else _refusal_of_host(scope["headers"])

    def _report(self, refusal: Refusal, scope: Mapping[str, Any]) -> None:
        headers, client = scope["headers"], scope["client"]
        is_handshake = refusal.outcome is Outcome.NO_UPGRADE or _is_handshake(
            scope["type"], headers
        )
        self._reports.refused(
            refusal,
            self._reports.origin(client and client[0], values(headers, b"x-forwarded-for")),
            {"path": shown_path(scope["path"])},
            is_handshake=is_handshake,
        )


_NO_UPGRADE = Refusal(
    Outcome.NO_UPGRADE,
    "no 'Connection: Upgrade' with 'Upgrade: websocket' came: a proxy in front has to pass them on",
    [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")],
)


def _refusal_of_host(headers: Headers) -> Refusal | None:
    """Refuse requests that Litestar would refuse without a log line."""
    if all(_HOST.match(value) for name, value in headers if name == b"host"):
        return None
    return Refusal(Outcome.UNREADABLE, "the Host header cannot be one")


def _is_handshake(kind: str, headers: Headers) -> bool:
    """Return whether a request was meant to become a WebSocket, even if a proxy removed headers."""
    return kind == "websocket" or any(name in _WEBSOCKET_HEADERS for name, _ in headers)


def shown_path(path: str) -> str:
    """Return a path for the log: known segments in any case, others as `…`."""
    segments = path.split("/")[1:]
    shown = [part if part.lower() in OURS else "…" for part in segments[:MAX_SEGMENTS]]
    if len(segments) > MAX_SEGMENTS:
        shown.append("…")
    return "/" + "/".join(shown)


async def send_refusal(send: Send, refusal: Refusal, kind: str) -> None:
    """Answer a request, or a handshake (`kind` is `websocket`), with HTTP, unless the peer left."""
    prefix = "websocket.http" if kind == "websocket" else "http"
    start: Any = {
        "type": f"{prefix}.response.start",
        "status": refusal.status,
        "headers": refusal.all_headers,
    }
    body: Any = {"type": f"{prefix}.response.body", "body": refusal.body, "more_body": False}
    with suppress(OSError):  # the peer has left: uvicorn's `ClientDisconnected`
        await send(start)
        await send(body)
