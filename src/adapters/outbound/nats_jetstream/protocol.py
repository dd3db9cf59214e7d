"""One connected socket to a NATS server: its protocol, and which reply belongs to which request."""

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from adapters.outbound.nats_jetstream.failures import NO_LOGIN, told_by_server, unreached
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

MAX_LINE = 64 * 1024
"""A longer line is an error: INFO of a large cluster has some kilobytes."""

WRITTEN_AT_ONCE_BYTES = 128 * 1024
"""What is joined for one write: what the socket does not take is copied once more."""

SILENT_SECONDS = 3.0
"""How long a server may be silent after requests and a PING."""

_CRLF = b"\r\n"
_SPACES = b" \t"


class Request(NamedTuple):
    """A request: its subject, its headers as lines, or none, and its payload."""

    subject: str
    payload: bytes = b""
    headers: bytes = b""


class Reply(NamedTuple):
    """A reply; `status` is not 0 if a server answers without a payload. `headers` are lines."""

    status: int
    headers: bytes
    payload: bytes


@dataclass(slots=True)
class Round:
    """Requests that were sent together; `done` when all are answered, or the connection is lost.

    With `is_many` one request has several answers, up to one with a status.
    """

    replies: list[Reply | PublisherError | None]
    done: asyncio.Future[None]
    missing: int
    is_many: bool = False
    tokens: list[bytes] = field(default_factory=list)

    def take(self, index: int, reply: Reply | PublisherError) -> bool:
        """Handle a reply; return False if the same request may get more."""
        if self.is_many:
            self.replies.append(reply)
            if isinstance(reply, Reply) and not reply.status:
                return False
        else:
            self.replies[index] = reply
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)
        return True


class NatsProtocol(asyncio.Protocol):
    """Sends requests with the connection's own inbox, and matches the replies."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._inbox = f"_INBOX.{secrets.token_hex(11)}".encode()
        self._pending: dict[bytes, tuple[Round, int, str]] = {}
        self._count = 0
        self._lost: PublisherError | None = None
        self._silent_since: float | None = None
        self.greeting: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self.admitted: asyncio.Future[None] = self._loop.create_future()
        self.max_payload = 0

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._lost is not None

    @property
    def transport(self) -> asyncio.Transport:
        """What is written to."""
        if self._transport is None:
            raise BrokerUnavailable("not connected yet")
        return self._transport

    @transport.setter
    def transport(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every pending request. See `asyncio.Protocol`."""
        self.abort(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Parse the server's data. See `asyncio.Protocol`."""
        self._silent_since = None
        if self._rest:
            data = self._rest + data
        try:
            at = self._take_all(data)
        except (ValueError, IndexError, KeyError) as error:
            self.abort(ConnectionError(f"the answer is not NATS's protocol: {error}"))
            return
        self._rest = data[at:]

    def abort(self, cause: BaseException) -> None:
        """Close at once; the effect of pending requests is unknown."""
        if self._lost is None:
            self._lost = cause if isinstance(cause, PublisherError) else unreached(cause)
            if self._transport is not None:
                self._transport.abort()
        for waiting in (self.greeting, self.admitted):
            if not waiting.done():
                waiting.set_exception(self._lost)
                waiting.exception()  # which is retrieved also where nothing waits for it
        pending, self._pending = self._pending, {}
        for of, _, _ in pending.values():
            if not of.done.done():
                of.done.set_exception(self._lost)
                of.done.exception()

    def log_in(self, options: dict[str, Any]) -> None:
        """Send the log-in; `admitted` is done when the server has accepted it."""
        self._write(b"CONNECT %b\r\nPING\r\n" % json.dumps(options).encode())

    def subscribe(self) -> None:
        """Subscribe to the inbox."""
        self._write(b"SUB %b.* 1\r\n" % self._inbox)

    def ping(self) -> None:
        """Send a PING."""
        self._write(b"PING\r\n")

    def send(self, requests: Sequence[Request], *, is_many: bool = False) -> Round:
        """Send requests.

        Raises:
            PublisherError: the connection is lost.

        """
        if self._lost is not None:
            raise type(self._lost)(str(self._lost)) from self._lost.__cause__
        count = len(requests)
        of = Round([] if is_many else [None] * count, self._loop.create_future(), count, is_many)
        parts: list[bytes] = []
        size = 0
        for index, request in enumerate(requests):
            subject, payload, headers = request
            refusal = self._refusal(request)
            if refusal is not None:
                of.take(index, refusal)
                continue
            self._count += 1
            token = b"%d" % self._count
            self._pending[token] = (of, index, subject)
            of.tokens.append(token)
            place = (subject.encode(), self._inbox, token)
            if headers:
                head = b"NATS/1.0\r\n%b\r\n" % headers
                sizes = (len(head), len(head) + len(payload))
                parts.append(b"HPUB %b %b.%b %d %d\r\n%b" % (*place, *sizes, head))
            else:
                parts.append(b"PUB %b %b.%b %d\r\n" % (*place, len(payload)))
            parts.append(payload)
            parts.append(_CRLF)
            size += len(payload)
            if size >= WRITTEN_AT_ONCE_BYTES:
                self._write(b"".join(parts))
                parts, size = [], 0
        if parts:
            self._write(b"".join(parts))
        return of

    def forget(self, of: Round) -> None:
        """Ignore further replies to these requests."""
        for token in of.tokens:
            self._pending.pop(token, None)

    def _refusal(self, request: Request) -> PublisherError | None:
        size = len(request.payload) + len(request.headers) + 14
        if size <= self.max_payload:
            return None
        return BrokerRefused(
            f"a message of {size} bytes is above the server's max_payload of {self.max_payload}: "
            "raise it there to 1MB or more"
        )

    def abort_if_silent(self) -> None:
        """Drop a connection on which the server has been silent for too long, despite a PING."""
        since = self._silent_since
        if since is not None and self._loop.time() - since > SILENT_SECONDS:
            self.abort(TimeoutError(NO_LOGIN))

    def _write(self, data: bytes) -> None:
        if self._silent_since is None:
            self._silent_since = self._loop.time()
        self.transport.write(data)

    def _take_all(self, data: bytes) -> int:
        """Parse complete lines and messages; return where the rest begins."""
        at = 0
        while True:
            end = data.find(_CRLF, at)
            if end < 0:
                if len(data) - at > MAX_LINE:
                    raise ValueError("a line without an end")
                return at
            verb = data[at : at + 4].upper()
            if verb in (b"MSG ", b"HMSG"):
                words = data[at:end].split()
                size = int(words[-1])
                after = end + 2 + size
                if len(data) < after + 2:
                    return at
                head = int(words[-2]) if verb == b"HMSG" else 0
                token = words[1].rpartition(b".")[2]
                self._take_message(token, data[end + 2 : after], head)
                at = after + 2
            else:
                self._take_line(verb, data[at:end])
                at = end + 2
            if self._lost is not None:
                return len(data)

    def _take_message(self, token: bytes, content: bytes, head: int) -> None:
        waiting = self._pending.get(token)
        if waiting is None:
            return
        of, index, _ = waiting
        # The headers begin with "NATS/1.0", and a status follows if there is no more to them.
        status = int(content[9:12]) if head and content[8:9] == b" " else 0
        if of.take(index, Reply(status, content[:head], content[head:])):
            del self._pending[token]

    def _take_line(self, verb: bytes, line: bytes) -> None:
        if verb == b"INFO":
            told: dict[str, Any] = json.loads(line[5:])
            self.max_payload = int(told.get("max_payload", self.max_payload))
            if not self.greeting.done():
                self.greeting.set_result(told)
        elif verb == b"PING":
            self._write(b"PONG\r\n")
        elif verb == b"PONG":
            if not self.admitted.done():
                self.admitted.set_result(None)
        elif verb == b"-ERR":
            self._take_error(line[4:].decode(errors="replace"))
        elif verb[:3] != b"+OK":
            raise ValueError("an unknown line")

    def _take_error(self, text: str) -> None:
        """Handle an error: a missing right for a subject, or a failure of the connection."""
        failure = told_by_server(text)
        if "Permissions Violation for Publish" not in text:
            self.abort(failure)
            return
        for token, (of, index, subject) in list(self._pending.items()):
            if f'"{subject}"' in text:
                del self._pending[token]
                of.is_many = False
                of.replies = of.replies or [None]
                of.take(index, failure)


def header(headers: bytes, name: bytes) -> bytes | None:
    """Return the value of a header."""
    at = headers.find(b"\r\n%b:" % name)
    if at < 0:
        return None
    start = at + len(name) + 3
    return headers[start : headers.index(_CRLF, start)].strip(_SPACES)
