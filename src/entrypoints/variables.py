"""The service's own variables: one row each, with how it is read and what is accepted.

What a destination needs of its own it names and checks itself (`StoreAdapter`).
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.outbound.jwt_rs256 import InvalidPublicKey, load_public_keys
from application.admit_sender import Network
from domain.errors import InvalidIdentifier
from domain.identifiers import TenantId

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})
_SHOWN = 60

_ACCEPTED_HOST = (
    "one address of this machine, IPv6 without brackets, or a name of it; 0.0.0.0: all of IPv4, "
    ":: both families"
)


class InvalidValue(ValueError):
    """A value a variable does not take; the message is what was found, safe to show."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A row: how a variable is read, what it is without being set, what is accepted.

    `guards`: without it more senders are let in. `reloads`: SIGHUP puts a new value into force.
    """

    name: str
    read: Callable[[str], Any]
    default: str | None
    accepted: str
    is_secret: bool = False
    guards: bool = False
    reloads: bool = False


def show(text: str) -> str:
    """Return a value that is no secret as it is repeated to the operator, in part if it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValue(show(text))


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise InvalidValue(show(text)) from None
        if not low <= value <= high:
            raise InvalidValue(show(text))
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise InvalidValue(show(text))
        return int(text)

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise InvalidValue(show(text))
        return text.lower()

    return read


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in _parts(text):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise InvalidValue(show(part)) from None
    return tuple(networks)


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


def _public_keys(text: str) -> object:
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


def _text(text: str) -> str:
    return text


_SECONDS = "a number of seconds"
_DAY = 86_400

VARIABLES: tuple[Variable, ...] = (
    Variable("SUPPORT_EXOTEL", _boolean, "false", "true or false", reloads=True),
    Variable(
        "EXOTEL_USERNAME",
        _user_name,
        None,
        "a user name without a colon, in one line",
        guards=True,
        reloads=True,
    ),
    Variable(
        "EXOTEL_PASSWORD",
        _credential,
        None,
        "a password in one line",
        is_secret=True,
        guards=True,
        reloads=True,
    ),
    Variable(
        "EXOTEL_PASSWORD_NEXT",
        _credential,
        None,
        "a password in one line",
        is_secret=True,
        reloads=True,
    ),
    Variable(
        "EXOTEL_ALLOWED_IPS",
        _networks,
        None,
        "comma-separated networks, as 10.0.0.0/8",
        guards=True,
        reloads=True,
    ),
    Variable(
        "EXOTEL_TENANTS", _tenants, None, "comma-separated tenants", guards=True, reloads=True
    ),
    Variable("TRUSTED_PROXY_HOPS", _whole(0, 16), "0", "a whole number from 0 to 16"),
    Variable(
        "JWT_PUBLIC_KEY",
        _public_keys,
        None,
        "public RSA keys of at least 2048 bits in PEM, one or several",
        is_secret=True,
        reloads=True,
    ),
    Variable("JWT_AUDIENCE", _text, None, "a text", guards=True, reloads=True),
    Variable("JWT_ISSUER", _text, None, "a text", guards=True, reloads=True),
    Variable(
        "JWT_LEEWAY_SECONDS",
        _number(0, 3600),
        "30",
        f"{_SECONDS} from 0 to 3600",
        reloads=True,
    ),
    Variable("HOST", _host, "0.0.0.0", _ACCEPTED_HOST),
    Variable(
        "PORT", _whole(0, 65_535), "8080", "a port from 0 to 65535 on which no process listens"
    ),
    Variable(
        "OPERATIONS_PORT",
        _whole(1, 65_535),
        None,
        "a port from 1 to 65535, other than PORT, on which no process listens",
    ),
    Variable("ACK_INTERVAL", _whole(0, 1_000_000), "10", "a whole number from 0 to 1000000"),
    Variable("BUFFER_SECONDS", _number(1, 3600), "45", f"{_SECONDS} from 1 to 3600"),
    Variable(
        "BUFFER_BYTES",
        _whole(1024 * 1024, 1024**4),
        "268435456",
        "a whole number of bytes from 1048576 to 1099511627776",
    ),
    Variable("REWIND_SECONDS", _number(0, 3600), "5", f"{_SECONDS} from 0 to 3600"),
    Variable("RESUME_SECONDS", _number(0, 3600), "30", f"{_SECONDS} from 0 to 3600"),
    Variable("RETENTION_SECONDS", _number(1, _DAY), "300", f"{_SECONDS} from 1 to {_DAY}"),
    Variable("EXPIRE_SECONDS", _number(1, _DAY), "900", f"{_SECONDS} from 1 to {_DAY}"),
    Variable("START_TIMEOUT_SECONDS", _number(0.1, 3600), "10", f"{_SECONDS} from 0.1 to 3600"),
    Variable("IDLE_TIMEOUT_SECONDS", _number(0.1, _DAY), "60", f"{_SECONDS} from 0.1 to {_DAY}"),
    Variable("MAX_CALL_SECONDS", _number(0.1, 7 * _DAY), "14400", f"{_SECONDS} from 0.1 to 604800"),
    Variable("MAX_STREAMS", _whole(1, 1_000_000), "2000", "a whole number from 1 to 1000000"),
    Variable("DRAIN_SECONDS", _number(0, 3600), "25", f"{_SECONDS} from 0 to 3600"),
    Variable("STREAM_PREFIX", _prefix, "rtaa", "1 to 64 of A-Z a-z 0-9 _ . -"),
    Variable(
        "LOG_LEVEL",
        _one_of("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error",
    ),
    Variable("LOG_FORMAT", _one_of("json", "console"), "json", "json or console"),
)

ACCEPTED = {variable.name: variable.accepted for variable in VARIABLES}
