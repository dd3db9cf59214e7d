"""The request that opened a WebSocket, for credentials and dialects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qsl

from domain.errors import InvalidTraceParent
from domain.trace_parent import TraceParent

INGEST_PATH = "/v1/ingest"
"""Where carriers connect."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake; its `repr` has no secrets.

    `query` has the last value of each parameter. `headers` has, for each name in lower case, the
    values of all its lines in their order. `subprotocols` are those on offer, by preference. `peer`
    is the address at the other end of the socket, None if there is none.
    """

    path: str = INGEST_PATH
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    subprotocols: tuple[str, ...] = ()
    peer: str | None = None

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Self:
        """Read the handshake of an ASGI scope."""
        headers: dict[str, tuple[bytes, ...]] = {}
        for key, value in scope["headers"]:
            name = key.decode("latin-1").lower()
            headers[name] = (*headers.get(name, ()), value)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        client = scope["client"]
        return cls(
            path=scope["path"],
            query=MappingProxyType(query),
            headers=MappingProxyType(headers),
            subprotocols=tuple(scope["subprotocols"]),
            peer=client[0] if client else None,
        )

    def header(self, name: str) -> tuple[bytes, ...]:
        """Return the values of a header, whose name is in lower case."""
        return self.headers.get(name, ())

    @property
    def traceparent(self) -> TraceParent | None:
        """The sender's trace parent; None if it is absent or invalid.

        Its `tracestate` is not passed on.
        """
        lines = self.header("traceparent")
        if len(lines) != 1:
            return None
        try:
            return TraceParent.read(lines[0].decode("latin-1").strip(" \t"))
        except InvalidTraceParent:
            return None
