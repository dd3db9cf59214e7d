"""The addresses of the servers and the login, from `NATS_URL` and the credentials."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit

from adapters.brokers.dialling import told
from adapters.brokers.tls import Tls
from adapters.brokers.urls import (
    ENDS_A_HOST,
    TLS_OPTIONS,
    complaint_of,
    first_wrong,
    unquoted,
    wrong_options,
)
from adapters.outbound.nats_jetstream.credentials import Credentials, UnusableCredentials

DEFAULT_PORT = 4222

ACCEPTED = "nats:// or tls:// with a host, several of them by comma"
ACCEPTED_CREDENTIALS = "a credentials file of nsc: a user's JWT and the seed of its nkey"

UNESCAPED = (
    "a special character that is not percent-encoded: in a user name, password or token write # as "
    "%23, / as %2F, ? as %3F, [ as %5B, ] as %5D, @ as %40, : as %3A, % as %25, a comma as %2C"
)

_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class Login:
    """The login at a server; a user without a password is a token."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials: Credentials | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no login."""
        return self == Login()


@dataclass(frozen=True, slots=True)
class Server:
    """One of the servers."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """Its name in messages."""
        return told(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Address:
    """The addresses of the servers and the login; `must_have_tls` if the URL says so."""

    servers: Sequence[Server]
    login: Login
    tls: Tls
    must_have_tls: bool

    @classmethod
    def of(cls, url: str, credentials: str | None = None) -> "Address":
        """Read a valid URL.

        Raises:
            UnusableCredentials: the credentials are none.

        """
        parts, query = _parted(url)
        first = parts[0]
        login = Login()
        if credentials is not None:
            login = Login(credentials=Credentials.read(credentials))
        elif first.password is not None:
            login = Login(unquoted(first.username), unquoted(first.password))
        elif first.username:
            login = Login(token=unquoted(first.username))
        return cls(
            servers=[Server(it.hostname or "", it.port or DEFAULT_PORT) for it in parts],
            login=login,
            tls=Tls.of(dict(parse_qsl(query))),
            must_have_tls=first.scheme == "tls",
        )


def complaint(url: str) -> str | None:
    """Return the error of a URL without repeating any part of it; None if it is valid."""
    return complaint_of(lambda: _complaint(url))


def _complaint(url: str) -> str | None:
    for item in url.partition("?")[0].split(","):
        login, at, _ = item.partition("://")[2].rpartition("@")
        if at and ENDS_A_HOST.intersection(login):
            return UNESCAPED
    parts, query = _parted(url)
    pairs = parse_qsl(query, keep_blank_values=True)
    has_tls = parts[0].scheme == "tls"
    found = _of_places(parts) or wrong_options(pairs, TLS_OPTIONS, "tls://", has_tls=has_tls)
    if found is None:
        address = Address.of(url)
        for server in address.servers:
            server.host.encode("idna")
        if address.must_have_tls:
            address.tls.load()
    return found


def complaint_of_credentials(text: str) -> str | None:
    """Return the error of credentials without repeating them; None if they are valid."""
    try:
        Credentials.read(text)
    except UnusableCredentials as error:
        return str(error)
    return None


def shown(url: str) -> str:
    """Return a URL without its secrets."""
    listed, mark, query = url.partition("?")
    items = []
    for item in listed.split(","):
        scheme, colon, rest = item.rpartition("://")
        secret, _, address = rest.rpartition("@")
        items.append(f"{scheme}{colon}{'***@' if secret else ''}{address}")
    return ",".join(items) + mark + query


def _parted(url: str) -> tuple[Sequence[SplitResult], str]:
    """Split the servers, of which only the first needs a scheme, and the options."""
    listed, _, query = url.partition("?")
    items = [item.strip() for item in listed.split(",")]
    scheme = items[0].partition("://")[0]
    whole = [item if "://" in item else f"{scheme}://{item}" for item in items]
    return [urlsplit(item) for item in whole], query


def _of_places(parts: Sequence[SplitResult]) -> str | None:
    first = parts[0]
    logins = {(it.username, it.password) for it in parts if it.username or it.password}
    wrong = {
        "another scheme": any(it.scheme not in _SCHEMES for it in parts),
        "different schemes": len({it.scheme for it in parts}) > 1,
        "no host or port": any(not it.hostname or it.port == 0 for it in parts),
        "a path after a host": any(it.path.strip("/") for it in parts),
        UNESCAPED: any(it.fragment for it in parts),
        "different logins: one is used for all servers": len(logins) > 1
        or (logins and not (first.username or first.password)),
        "a password without a user name": any(it.password and not it.username for it in parts),
    }
    return first_wrong(wrong)
