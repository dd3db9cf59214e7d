"""The target of `REDIS_URL`: one server, the primary that Sentinels name, or a cluster.

In a URL with several hosts each one is read and checked like a URL of one host.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from adapters.brokers.urls import ENDS_A_HOST, first_wrong
from adapters.outbound.redis_streams.address import UNESCAPED, Address, complaint

SENTINEL_PORT = 26379

ACCEPTED = (
    "redis://, rediss:// or unix:// with host or path; "
    "redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,HOST:PORT, "
    "both also with rediss"
)

_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_tls")
"""How to log in at the Sentinels, and whether they speak TLS: `yes`, `no`, or as the servers do."""

_SEVERAL = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://"
    r"(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#]*)"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?P<fragment>\#.*)?",
    re.IGNORECASE | re.DOTALL,
)


class Kind(Enum):
    """What answers at the hosts of the URL."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Target:
    """The address of the broker.

    `seeds` are the server, the Sentinels or some nodes of the cluster. `server` has the login and
    TLS options of servers that become known later. `name` is the primary's, for Sentinels.
    """

    kind: Kind
    seeds: tuple[Address, ...]
    server: Address
    name: str = ""

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read a valid URL."""
        several = _Several.of(url)
        if several is None:
            address = Address.of(url)
            return cls(Kind.SERVER, (address,), address)
        seeds = tuple(map(Address.of, several.seed_urls()))
        return cls(several.kind, seeds, Address.of(several.server_url("localhost")), several.name)

    def at(self, host: str, port: int) -> Address:
        """Return the address of a server with the common login."""
        return replace(self.server, host=host, port=port)


def target_complaint(url: str) -> str | None:
    """Return the error of a URL without repeating any part of it; None if it is valid."""
    login = url.partition("://")[2].rpartition("@")[0]
    if ENDS_A_HOST.intersection(login):  # before it is taken apart: see `complaint`
        return UNESCAPED
    try:
        several = _Several.of(url)
        if several is None:
            return _of_one(url) or complaint(url)
        found = several.complaint()
        if found is None:
            urls = (*map(several.server_url, several.hosts), *several.seed_urls())
            found = next((wrong for it in urls if (wrong := complaint(it)) is not None), None)
        return found or _of_places(Target.of(url))
    except ValueError:
        return "an address that cannot be read"


def shown(url: str) -> str:
    """Show a URL without its secrets."""
    scheme, _, rest = url.partition("://")
    before, question, query = rest.partition("?")
    login, _, hosts = before.rpartition("@")
    options = [
        (name, "***" if name in _SENTINEL_OPTIONS[:2] else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    secret = "***@" if login else ""
    return f"{scheme}://{secret}{hosts}{question}{urlencode(options, safe='*/')}"


def _of_one(url: str) -> str | None:
    """Say that a URL of one server names several."""
    hosts = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "," in hosts and not url.startswith("unix:"):
        return "several hosts without +sentinel or +cluster in the scheme"
    return None


def _of_places(target: Target) -> str | None:
    places = {(seed.host, seed.port) for seed in target.seeds}
    return "a host twice" if len(places) < len(target.seeds) else None


@dataclass(frozen=True, slots=True)
class _Several:
    """The pieces of a URL with several hosts, as they are written in it."""

    kind: Kind
    scheme: str
    login: str
    hosts: tuple[str, ...]
    name: str
    path: str
    options: tuple[tuple[str, str], ...]
    fragment: str

    @classmethod
    def of(cls, url: str) -> "_Several | None":
        """Take a URL apart; None if it is that of one server.

        Not `urlsplit`: some versions refuse a list of hosts in which one has brackets.

        Raises:
            ValueError: something in it is not UTF-8.

        """
        found = _SEVERAL.fullmatch(url)
        if found is None:
            return None
        kind = Kind(found["kind"].lower())
        path = (found["path"] or "").strip("/")
        name = ""
        if kind is Kind.SENTINEL:
            name, _, path = path.partition("/")
        return cls(
            kind,
            scheme=found["scheme"].lower(),
            login="" if found["login"] is None else f"{found['login']}@",
            hosts=tuple(found["hosts"].split(",")),
            name=unquote(name, errors="strict"),
            path=path,
            options=tuple(parse_qsl(found["query"] or "", keep_blank_values=True, errors="strict")),
            fragment=found["fragment"] or "",
        )

    def complaint(self) -> str | None:
        """Return the error of the whole URL, apart from errors of one server."""
        names = [name for name, _ in self.options]
        options = dict(self.options)
        of_sentinels = options.keys() & set(_SENTINEL_OPTIONS)
        is_sentinel = self.kind is Kind.SENTINEL
        wrong = {
            UNESCAPED: self.fragment,
            "no host, or an empty one": not all(self.hosts),
            "no name of the primary: redis+sentinel://HOST:PORT/NAME": is_sentinel
            and not self.name.strip(),
            "a database, of which a cluster has only 0": not is_sentinel
            and {self.path, options.get("db", "")} - {"", "0"},
            "options of Sentinels without redis+sentinel://": of_sentinels and not is_sentinel,
            "an option twice": len(names) > len(set(names)),
            "an option without a value": not all(options.values()),
            "sentinel_tls other than yes, no": options.get("sentinel_tls", "no")
            not in ("yes", "no"),
            "sentinel_username without sentinel_password": "sentinel_username" in options
            and "sentinel_password" not in options,
        }
        return first_wrong(wrong)

    def server_url(self, host: str) -> str:
        """Write the URL of one server."""
        query = urlencode([(k, v) for k, v in self.options if k not in _SENTINEL_OPTIONS])
        return urlunsplit((self.scheme, f"{self.login}{host}", f"/{self.path}", query, ""))

    def seed_urls(self) -> list[str]:
        """Write a URL of each host: of a node of the cluster, or of a Sentinel."""
        if self.kind is Kind.CLUSTER:
            return [self.server_url(host) for host in self.hosts]
        options = dict(self.options)
        tls = options.get("sentinel_tls", "yes" if self.scheme == "rediss" else "no")
        password = quote(options.get("sentinel_password", ""), safe="")
        user = quote(options.get("sentinel_username", ""), safe="")
        login = f"{user}:{password}@" if password else ""
        kept = urlencode([(k, v) for k, v in self.options if k.startswith("ssl_") and tls == "yes"])
        scheme = "rediss" if tls == "yes" else "redis"
        return [
            urlunsplit((scheme, f"{login}{_with_port(host)}", "", kept, "")) for host in self.hosts
        ]


def _with_port(host: str) -> str:
    has_port = urlsplit(f"//{host}").port is not None
    return host if has_port else f"{host}:{SENTINEL_PORT}"
