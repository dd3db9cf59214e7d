"""The requirements for a request (RFC 9110), and for a handshake (RFC 6455, 4.2.1)."""

import binascii
import re

from adapters.inbound.reporting.refusals import Headers, Outcome, Refusal

MAX_HEADER_LINE_BYTES = 8_000
MAX_HEADERS = 100
"""Below the limits of websockets' handshake parser (8192 bytes a line, 128 lines), which raises."""

MAX_REQUEST_BYTES = 16 * 1024
"""The maximum size of an incomplete request."""

WEBSOCKET_VERSION = b"13"
_KEY_BYTES = 16

TIMED_OUT = Refusal(Outcome.TIMED_OUT, "no complete request within START_TIMEOUT_SECONDS")
UNREADABLE = Refusal(Outcome.UNREADABLE, "what came is no HTTP request")
BODY_NOT_TAKEN = Refusal(Outcome.BODY, "a request with a body")
TOO_OLD_FOR_UPGRADE = Refusal(Outcome.UNREADABLE, "a handshake needs HTTP/1.1: a proxy speaks 1.0")
NOT_GET = Refusal(Outcome.WRONG_METHOD, "a handshake is a GET", [(b"allow", b"GET")])
NO_KEY = Refusal(Outcome.UNREADABLE, "Sec-WebSocket-Key has to come once, 16 bytes in base64")
UNREADABLE_HANDSHAKE = Refusal(Outcome.UNREADABLE, "a header of the handshake cannot be read")
HEADERS_TOO_LARGE = Refusal(
    Outcome.HEADERS_TOO_LARGE,
    f"a header line over {MAX_HEADER_LINE_BYTES} bytes, more than {MAX_HEADERS} of them, or over "
    f"{MAX_REQUEST_BYTES} bytes in all",
)
OTHER_VERSION = Refusal(
    Outcome.WRONG_VERSION,
    "Sec-WebSocket-Version is not 13",
    [
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", WEBSOCKET_VERSION),
    ],
)

_CONTROL = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
"""Characters that no header value may have (RFC 9110, 5.5). h11 accepts some, `websockets` none."""

_UPGRADE = {b"connection": b"Upgrade", b"upgrade": b"websocket"}


def asks_for_websocket(headers: Headers) -> bool:
    """Return whether a WebSocket is requested, possibly among others and over several lines."""
    is_upgrade = b"upgrade" in _options(headers, b"connection")
    return is_upgrade and b"websocket" in _options(headers, b"upgrade")


def with_plain_upgrade(headers: Headers) -> Headers:
    """Return the headers with `Connection` and `Upgrade` in the form that `websockets` reads."""
    others = ((name, value) for name, value in headers if name not in _UPGRADE)
    return [*others, *_UPGRADE.items()]


def has_body(headers: Headers) -> bool:
    """Return whether a request declares a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
        for name, value in headers
    )


def refusal_of_handshake(
    method: bytes, target: bytes, http_version: bytes, headers: Headers
) -> Refusal | None:
    """Return why a request cannot become a WebSocket; None if it can. Names are in lower case."""
    longest = max((len(name) + len(value) for name, value in headers), default=0)
    too_long = max(longest, len(target)) > MAX_HEADER_LINE_BYTES
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    refusal = None
    if too_long or len(headers) > MAX_HEADERS:
        refusal = HEADERS_TOO_LARGE
    elif has_body(headers):
        refusal = BODY_NOT_TAKEN
    elif not all(_is_readable(name, value) for name, value in headers):
        refusal = UNREADABLE_HANDSHAKE
    elif method != b"GET":
        refusal = NOT_GET
    elif http_version != b"1.1":
        refusal = TOO_OLD_FOR_UPGRADE
    elif (b"sec-websocket-version", WEBSOCKET_VERSION) not in headers:
        refusal = OTHER_VERSION
    elif len(keys) != 1 or not _is_key(keys[0]):
        refusal = NO_KEY
    return refusal


def _options(headers: Headers, name: bytes) -> set[bytes]:
    lines = (value for key, value in headers if key == name)
    return {option.strip().lower() for line in lines for option in line.split(b",")}


def _is_readable(name: bytes, value: bytes) -> bool:
    """Return whether `websockets` accepts a header: it allows no length but `0`, not even `00`."""
    return not _CONTROL.search(value) and (name != b"content-length" or value == b"0")


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
