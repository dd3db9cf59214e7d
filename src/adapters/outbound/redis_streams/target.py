"""What `REDIS_URL` names: one server, the primary that Sentinels name, or a cluster.

Each host of a URL with several is read, and complained of, as if it stood in a URL of its own.
"""

from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from adapters.outbound.redis_streams.address import Address, complaint

SENTINEL_PORT = 26379

ACCEPTED = (
    "redis://, rediss:// or unix:// with host or path; "
    "redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,HOST:PORT, "
    "both also with rediss"
)

_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_tls")
"""How to log in at the Sentinels, and whether they speak TLS: `yes`, `no`, or as the servers do."""


class Kind(Enum):
    """What answers at the hosts of the URL."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the broker is.

    `seeds` are the server, the Sentinels or some nodes of the cluster. `server` says how to come in
    at a server of which host and port are told later. `name` is the primary's, for Sentinels.
    """

    kind: Kind
    seeds: tuple[Address, ...]
    server: Address
    name: str = ""

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read a URL with which nothing is wrong.

        Raises:
            OSError: the certificates that it names cannot be read.

        """
        parts = urlsplit(url)
        kind = _kind(parts)
        if kind is Kind.SERVER:
            address = Address.of(url)
            return cls(kind, (address,), address)
        seeds = tuple(Address.of(it) for it in _seed_urls(parts))
        server = Address.of(_server_url(parts, "localhost"))
        return cls(kind, seeds, server, _name(parts)[0])

    def at(self, host: str, port: int) -> Address:
        """Return a server that was told, with the way to come in of all."""
        return replace(self.server, host=host, port=port)


def target_complaint(url: str) -> str | None:
    """Say what is wrong with a URL, repeating nothing of it; None if nothing is."""
    try:
        parts = urlsplit(url)
        kind = _kind(parts)
        if kind is Kind.SERVER:
            return complaint(url)
        found = _of_hosts(parts) or _of_path(parts, kind) or _of_sentinel_options(parts, kind)
        if found is not None:
            return found
        urls = [_server_url(parts, host) for host in _hosts(parts)] + _seed_urls(parts)
    except ValueError:
        return "an address that cannot be read"
    return next((wrong for it in urls if (wrong := complaint(it)) is not None), None)


def shown(url: str) -> str:
    """Show a URL without what is secret in it."""
    parts = urlsplit(url)
    secret, _, hosts = parts.netloc.rpartition("@")
    options = [
        (name, "***" if name in _SENTINEL_OPTIONS[:2] else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    netloc = f"***@{hosts}" if secret else hosts
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(options, safe="*/"), ""))


def _kind(parts: SplitResult) -> Kind:
    scheme, _, kind = parts.scheme.partition("+")
    several = kind in ("sentinel", "cluster") and scheme in ("redis", "rediss")
    return Kind(kind) if several else Kind.SERVER


def _hosts(parts: SplitResult) -> list[str]:
    return parts.netloc.rpartition("@")[2].split(",")


def _of_hosts(parts: SplitResult) -> str | None:
    hosts = _hosts(parts)
    if not all(hosts):
        return "no host, or an empty one"
    return "a host twice" if len(set(hosts)) < len(hosts) else None


def _of_path(parts: SplitResult, kind: Kind) -> str | None:
    name, database = _name(parts)
    options = dict(parse_qsl(parts.query))
    if kind is Kind.SENTINEL:
        return None if name else "no name of the primary: redis+sentinel://HOST:PORT/NAME"
    if (name or database or options.get("db", "0")) not in ("", "0"):
        return "a database, of which a cluster has only 0"
    return None


def _of_sentinel_options(parts: SplitResult, kind: Kind) -> str | None:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if kind is not Kind.SENTINEL and options.keys() & set(_SENTINEL_OPTIONS):
        return "options of Sentinels without redis+sentinel://"
    if options.get("sentinel_tls", "no") not in ("yes", "no"):
        return "sentinel_tls other than yes, no"
    if "sentinel_username" in options and "sentinel_password" not in options:
        return "sentinel_username without sentinel_password"
    return None


def _name(parts: SplitResult) -> tuple[str, str]:
    """Return the two parts of the path: the primary's name, and the database."""
    name, _, database = parts.path.strip("/").partition("/")
    return unquote(name), database


def _server_url(parts: SplitResult, host: str) -> str:
    """Write the URL of one server."""
    login, at, _ = parts.netloc.rpartition("@")
    options = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(k, v) for k, v in options if k not in _SENTINEL_OPTIONS])
    database = _name(parts)[1] if _kind(parts) is Kind.SENTINEL else ""
    scheme = parts.scheme.partition("+")[0]
    return urlunsplit((scheme, f"{login}{at}{host}", f"/{database}", query, parts.fragment))


def _seed_urls(parts: SplitResult) -> list[str]:
    """Write a URL of each host: of a node of the cluster, or of a Sentinel."""
    hosts = _hosts(parts)
    if _kind(parts) is Kind.CLUSTER:
        return [_server_url(parts, host) for host in hosts]
    options = dict(parse_qsl(parts.query))
    tls = options.get("sentinel_tls", "yes" if parts.scheme.startswith("rediss") else "no")
    password = quote(options.get("sentinel_password", ""), safe="")
    login = f"{quote(options.get('sentinel_username', ''), safe='')}:{password}@"
    kept = [(k, v) for k, v in options.items() if k.startswith("ssl_") and tls == "yes"]
    return [
        urlunsplit(
            (
                "rediss" if tls == "yes" else "redis",
                (login if password else "") + _with_port(host),
                "",
                urlencode(kept),
                "",
            )
        )
        for host in hosts
    ]


def _with_port(host: str) -> str:
    has_port = urlsplit(f"//{host}").port is not None
    return host if has_port else f"{host}:{SENTINEL_PORT}"
