"""Why a handshake, or another request, is refused, and the HTTP answer to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from application.ports import telemetry

Headers = Sequence[tuple[bytes, bytes]]


class Outcome(StrEnum):
    """The outcome of a handshake: the label of the metric and the reason in the log."""

    ACCEPTED = telemetry.ACCEPTED
    UNREADABLE = "unreadable"
    """No HTTP request, or a handshake whose headers cannot be used."""
    UNAUTHENTICATED = "unauthenticated"
    TOO_MANY_FAILURES = "too_many_failures"
    ADDRESS_REFUSED = "address_refused"
    ADDRESS_UNKNOWN = "address_unknown"
    """There is no address in the place that `TRUSTED_PROXY_HOPS` leads to."""
    WRONG_PATH = "wrong_path"
    WRONG_METHOD = "wrong_method"
    TIMED_OUT = "timed_out"
    BODY = "body"
    NO_UPGRADE = "no_upgrade"
    WRONG_VERSION = "wrong_version"
    HEADERS_TOO_LARGE = "headers_too_large"
    FAILED = "failed"
    """A bug of ours."""
    FULL = "full"
    NO_BROKER = telemetry.NO_BROKER
    DRAINING = "draining"


_STATUS = {
    Outcome.UNREADABLE: HTTPStatus.BAD_REQUEST,
    Outcome.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Outcome.TOO_MANY_FAILURES: HTTPStatus.TOO_MANY_REQUESTS,
    Outcome.ADDRESS_REFUSED: HTTPStatus.FORBIDDEN,
    Outcome.ADDRESS_UNKNOWN: HTTPStatus.FORBIDDEN,
    Outcome.WRONG_PATH: HTTPStatus.NOT_FOUND,
    Outcome.WRONG_METHOD: HTTPStatus.METHOD_NOT_ALLOWED,
    Outcome.TIMED_OUT: HTTPStatus.REQUEST_TIMEOUT,
    Outcome.BODY: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Outcome.NO_UPGRADE: HTTPStatus.UPGRADE_REQUIRED,
    Outcome.WRONG_VERSION: HTTPStatus.UPGRADE_REQUIRED,
    Outcome.HEADERS_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Outcome.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    Outcome.FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    Outcome.NO_BROKER: HTTPStatus.SERVICE_UNAVAILABLE,
    Outcome.DRAINING: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal; `explanation` is for the log, the peer gets the status and `headers`."""

    outcome: Outcome
    explanation: str
    headers: Headers = ()

    @property
    def status(self) -> int:
        """The status of the answer."""
        return _STATUS[self.outcome].value

    @property
    def body(self) -> bytes:
        """The body of the answer, which has only the status."""
        return _STATUS[self.outcome].phrase.lower().encode() + b"\n"

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer, those of its body included."""
        return [
            *self.headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(self.body)).encode()),
        ]

    def on_the_wire(self) -> bytes:
        """Return the answer as bytes, without a body; it closes the connection."""
        status = _STATUS[self.outcome]
        lines = [
            b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode()),
            *(name + b": " + value for name, value in self.headers),
            b"connection: close",
            b"content-length: 0",
            b"",
            b"",
        ]
        return b"\r\n".join(lines)
