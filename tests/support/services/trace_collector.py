"""A collector of traces: takes OTLP over HTTP and keeps every span."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Found(NamedTuple):
    """A span as it arrived, with the attributes of its process."""

    span: Span
    attributes: dict[str, Any]
    resource: dict[str, Any]
    headers: dict[str, str]

    @property
    def traceparent(self) -> str:
        """What continues the trace after it."""
        return f"00-{self.span.trace_id.hex()}-{self.span.span_id.hex()}-{self.flags:02x}"

    @property
    def flags(self) -> int:
        return self.span.flags & 0xFF


def read(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    return None if kind is None else getattr(pair.value, kind)


class TraceCollector:
    """`with` starts and stops it; `status` is what it answers."""

    def __init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.may_answer.wait()
                if collector.status == 200:
                    collector.take(self.path, dict(self.headers), body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.spans: list[Found] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        for of_process in request.resource_spans:
            resource = read(of_process.resource.attributes)
            for scope in of_process.scope_spans:
                for span in scope.spans:
                    told = {name.lower(): value for name, value in headers.items()}
                    self.spans.append(Found(span, read(span.attributes), resource, told))

    def of(self, interaction: str) -> list[Found]:
        """The spans of a call."""
        return [it for it in self.spans if it.attributes["rtaa.interaction_id"] == interaction]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
