"""The address of the broker in `REDIS_URL`, and its possible errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from adapters.brokers.tls import Tls
from adapters.brokers.urls import (
    ENDS_A_HOST,
    TLS_OPTIONS,
    complaint_of,
    unquoted,
    wrong_options,
)

DEFAULT_PORT = 6379
MAX_DATABASE = 2**31 - 1

ACCEPTED = "redis://, rediss:// or unix:// with host or path"

UNESCAPED = (
    "a special character that is not percent-encoded: in a user name or password write # as %23, "
    "/ as %2F, ? as %3F, [ as %5B, ] as %5D, @ as %40, : as %3A, % as %25"
)

_SCHEMES = ("redis", "rediss", "unix")
_OPTIONS = {"db", *TLS_OPTIONS}
"""The options with redis-py's names: those for the address and for TLS."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the broker and the login."""

    host: str
    port: int
    path: str | None
    username: str | None
    password: str | None = field(repr=False)
    database: int
    tls: Tls | None

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a valid URL."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or DEFAULT_PORT,
            path=unquote(parts.path) if parts.scheme == "unix" else None,
            username=unquoted(parts.username),
            password=unquoted(parts.password),
            database=int(_database(parts, options)),
            tls=Tls.of(options) if parts.scheme == "rediss" else None,
        )


def complaint(url: str) -> str | None:
    """Return the error of a URL without repeating any part of it; None if it is valid."""
    return complaint_of(lambda: _complaint(url))


def _complaint(url: str) -> str | None:
    # Before it is taken apart: such a character ends the host, the port or the whole, and what is
    # found wrong then is something else.
    login, at, _ = url.partition("://")[2].rpartition("@")
    if at and ENDS_A_HOST.intersection(login):
        return UNESCAPED
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    found = (
        _of_place(parts, parts.port)
        or wrong_options(pairs, _OPTIONS, "rediss://", has_tls=parts.scheme == "rediss")
        or _of_database(parts, dict(pairs))
    )
    if found is None:
        address = Address.of(url)
        address.host.encode("idna")
        if address.tls is not None:
            address.tls.load()
    return found


def _of_place(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "another scheme"
    if parts.fragment:
        return UNESCAPED
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        return "no path: unix:///PATH"
    if port == 0 or (parts.scheme != "unix" and not parts.hostname):
        return "no host or port"
    return None


def _of_database(parts: SplitResult, options: Mapping[str, str]) -> str | None:
    database = _database(parts, options)
    if not (database.isascii() and database.isdecimal()) or int(database) > MAX_DATABASE:
        return "a database that is no number"
    if "db" in options and _in_path(parts):
        return "a database twice"
    return None


def _database(parts: SplitResult, options: Mapping[str, str]) -> str:
    return options.get("db") or _in_path(parts) or "0"


def _in_path(parts: SplitResult) -> str:
    return "" if parts.scheme == "unix" else unquote(parts.path).strip("/")
