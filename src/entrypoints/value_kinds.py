"""The kinds of values of variables: how a text is parsed, and a description for operators."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adapters.outbound.jwt_rs256 import InvalidPublicKey, load_public_keys
from application.access.admit_sender import Network
from domain.errors import InvalidIdentifier
from domain.identifiers import TenantId

T_co = TypeVar("T_co", covariant=True)

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_BETWEEN_HEADERS = re.compile(r"[ \t]*,[ \t]*")
_HEADER = re.compile(r"[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[ !#-+\--:<-\[\]-~]*\Z")
"""`name=value` as the OTLP exporter reads it: it logs whatever it cannot read."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})
_MAPPED_PREFIX = 96
"""Length of ::ffff:0:0/96, the network of IPv4-mapped addresses (RFC 4291, 2.5.5.2)."""
_SHOWN = 60


class InvalidValue(ValueError):
    """A wrong value of a variable; the message has the value found, safe to show."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """Reads a value from a text, or raises `InvalidValue`. `accepted` is what an operator reads.

    `shown` is a text that is taken as it may be shown.
    """

    read: Callable[[str], T_co]
    accepted: str
    shown: Callable[[str], str] = str


def show(text: str) -> str:
    """Return a value that is not secret for a message, shortened if it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def seconds(low: float, high: float) -> Kind[float]:
    """Return the kind of a time from `low` to `high` seconds."""

    def read(text: str) -> float:
        value = _number(text)
        if not low <= value <= high:
            raise InvalidValue(show(text))
        return value

    return Kind(read, f"a number of seconds from {low:.15g} to {high:.15g}")


def whole(low: int, high: int, accepted: str = "a whole number from {low} to {high}") -> Kind[int]:
    """Return the kind of a whole number from `low` to `high`; `accepted` says it in words."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise InvalidValue(show(text))
        return int(text)

    return Kind(read, accepted.format(low=low, high=high))


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):  # `float` takes the digits of all scripts, and 1_0 for 10
        raise InvalidValue(show(text))
    return float(text)


def one_of(first: str, *others: str) -> Kind[str]:
    """Return the kind of a word that is one of these, in any case."""

    def read(text: str) -> str:
        if text.lower() not in {first, *others}:
            raise InvalidValue(show(text))
        return text.lower()

    *most, last = first, *others
    return Kind(read, f"{', '.join(most)} or {last}")


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValue(show(text))


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in _parts(text):
        try:
            networks.append(_unmapped(ipaddress.ip_network(part)))
        except ValueError:
            raise InvalidValue(show(part)) from None
    return tuple(networks)


def _unmapped(network: Network) -> Network:
    """Return a network of IPv4-mapped addresses as that of IPv4: senders' addresses are so too."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def _tenants(text: str) -> frozenset[TenantId]:
    try:
        return frozenset(TenantId(part) for part in _parts(text))
    except InvalidIdentifier:
        raise InvalidValue(show(text)) from None


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InvalidValue("an empty list")
    return parts


def _public_keys(text: str) -> tuple[RSAPublicKey, ...]:
    try:
        return load_public_keys(text)
    except InvalidPublicKey as error:
        raise InvalidValue(str(error)) from None


def _prefix(text: str) -> str:
    if not _PREFIX.match(text):
        raise InvalidValue(show(text))
    return text


def _host(text: str) -> str:
    """Read an address or a name; whether this machine has it is found out by listening."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        is_number = not text.strip("0123456789.")
        if is_number or not _HOST_NAME.match(text):
            raise InvalidValue(show(text)) from None
    return text


def _user_name(text: str) -> str:
    if ":" in text:
        raise InvalidValue("a colon")
    return _credential(text)


def _credential(text: str) -> str:
    """Read a text that a sender can show: RFC 7617 excludes control characters."""
    if _CONTROL.search(text):
        raise InvalidValue("several lines, or another control character")
    return text


def _ratio(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise InvalidValue(show(text))
    return value


def _collector(text: str) -> str:
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if "@" in text:
        raise InvalidValue("a URL with a user in it")
    if not is_usable:
        raise InvalidValue(show(_without_query(text)))
    return text


def _without_query(url: str) -> str:
    """Return a URL as it may be shown: some collectors take a key in the query."""
    path, mark, _ = url.partition("?")
    return f"{path}?***" if mark else path


def _http_headers(text: str) -> str:
    if not all(_HEADER.match(part) for part in _BETWEEN_HEADERS.split(text) if part):
        raise InvalidValue("a part that is no name=value")
    return text


def _http_protobuf(text: str) -> str:
    if text.lower() != "http/protobuf":
        raise InvalidValue(show(text))
    return text


BOOLEAN = Kind(_boolean, "true or false")
TEXT = Kind(str, "a text")
USER_NAME = Kind(_user_name, "a user name without a colon, in one line")
PASSWORD = Kind(_credential, "a password in one line")
NETWORKS = Kind(_networks, "comma-separated networks, as 10.0.0.0/8")
TENANTS = Kind(_tenants, "comma-separated tenants")
PUBLIC_KEYS = Kind(_public_keys, "public RSA keys of at least 2048 bits in PEM, one or several")
PREFIX = Kind(_prefix, "1 to 64 of A-Z a-z 0-9 _ . -")
HOST = Kind(
    _host,
    "one address of this machine, IPv6 without brackets, or a name of it; 0.0.0.0: all of IPv4, "
    ":: both families",
)
RATIO = Kind(_ratio, "a number from 0 to 1")
COLLECTOR = Kind(
    _collector, "an http or https URL without a user; a key goes into the headers", _without_query
)
HTTP_HEADERS = Kind(_http_headers, "comma-separated name=value, each value percent-encoded")
HTTP_PROTOBUF = Kind(_http_protobuf, "http/protobuf")
