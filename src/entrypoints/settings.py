"""Settings from the environment, all mistakes reported at once.

Each variable is one row of `VARIABLES`; `NAME_FILE` reads the value of `NAME` from a file, for
secrets. What a destination needs of its own it checks itself (`DestinationAdapter.problems`).
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.outbound.jwt_rs256 import InvalidPublicKey, load_public_key
from application.admit_sender import AccessPolicy, Network
from application.buffer import BufferLimits
from application.ports.destination import DestinationAdapter, DestinationOptions, Problem
from domain.errors import InvalidIdentifier
from domain.identifiers import TenantId
from entrypoints.registry import UnusableAdapter, adapter_problems

REDACTED = "***"
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})
_SHOWN = 60


class InvalidValue(ValueError):
    """A value a variable does not take; the message is what was found, safe to show."""


class InvalidSettings(Exception):
    """The environment does not make a service that works; `problems` lists every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        lines = [f"  {p.variable}: found {p.found}; accepted: {p.accepted}" for p in problems]
        super().__init__("\n".join(["the configuration is not usable:", *lines]))


@dataclass(frozen=True, slots=True)
class Variable:
    """A row: how a variable is read, what it is without being set, what is accepted."""

    name: str
    read: Callable[[str], Any]
    default: str | None
    accepted: str
    is_secret: bool = False


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValue(_show(text))


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise InvalidValue(_show(text)) from None
        if not low <= value <= high:
            raise InvalidValue(_show(text))
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise InvalidValue(_show(text))
        return int(text)

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise InvalidValue(_show(text))
        return text.lower()

    return read


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in _parts(text):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise InvalidValue(_show(part)) from None
    return tuple(networks)


def _tenants(text: str) -> frozenset[TenantId]:
    try:
        return frozenset(TenantId(part) for part in _parts(text))
    except InvalidIdentifier:
        raise InvalidValue(_show(text)) from None


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InvalidValue("an empty list")
    return parts


def _public_key(text: str) -> object:
    try:
        return load_public_key(text)
    except InvalidPublicKey as error:
        raise InvalidValue(str(error)) from None


def _prefix(text: str) -> str:
    if not _PREFIX.match(text):
        raise InvalidValue(_show(text))
    return text


def _host(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise InvalidValue(_show(text))
    return text


def _show(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _text(text: str) -> str:
    return text


_SECONDS = "a number of seconds"
_DAY = 86_400

VARIABLES: tuple[Variable, ...] = (
    Variable("SUPPORT_EXOTEL", _boolean, "false", "true or false"),
    Variable("EXOTEL_USERNAME", _text, None, "a user name without a colon"),
    Variable("EXOTEL_PASSWORD", _text, None, "a password", is_secret=True),
    Variable("EXOTEL_PASSWORD_NEXT", _text, None, "a password", is_secret=True),
    Variable("EXOTEL_ALLOWED_IPS", _networks, None, "comma-separated networks, as 10.0.0.0/8"),
    Variable("EXOTEL_TENANTS", _tenants, None, "comma-separated tenants"),
    Variable("TRUSTED_PROXY_HOPS", _whole(0, 16), "0", "a whole number from 0 to 16"),
    Variable(
        "JWT_PUBLIC_KEY",
        _public_key,
        None,
        "a public RSA key of at least 2048 bits in PEM",
        is_secret=True,
    ),
    Variable("JWT_AUDIENCE", _text, None, "a text"),
    Variable("JWT_ISSUER", _text, None, "a text"),
    Variable("JWT_LEEWAY_SECONDS", _number(0, 3600), "30", f"{_SECONDS} from 0 to 3600"),
    Variable("HOST", _host, "0.0.0.0", "an address to listen on"),
    Variable("PORT", _whole(0, 65_535), "8080", "a port from 0 to 65535"),
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


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service runs with; `values` holds one value for each of `VARIABLES`."""

    adapter: DestinationAdapter
    environment: Mapping[str, str]
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # of the variable's own type
        return self.values[name]

    @property
    def destination_options(self) -> DestinationOptions:
        """What every destination is told."""
        return DestinationOptions(
            self["STREAM_PREFIX"], self["EXPIRE_SECONDS"], self["REWIND_SECONDS"]
        )

    @property
    def buffer_limits(self) -> BufferLimits:
        """How much audio may be held."""
        return BufferLimits(self["BUFFER_SECONDS"], self["BUFFER_BYTES"], self["REWIND_SECONDS"])

    @property
    def access_policy(self) -> AccessPolicy:
        """Who may connect without a token."""
        user = self["EXOTEL_USERNAME"]
        passwords = [self["EXOTEL_PASSWORD"], self["EXOTEL_PASSWORD_NEXT"]]
        return AccessPolicy(
            carriers=self["SUPPORT_EXOTEL"],
            pairs=tuple(
                f"{user}:{password}".encode(errors="surrogateescape")
                for password in passwords
                if password
            ),
            networks=self["EXOTEL_ALLOWED_IPS"],
            tenants=self["EXOTEL_TENANTS"],
        )

    def describe(self) -> dict[str, str]:
        """Return every variable with its value as it may be shown."""
        shown = {"PUBSUB_ADAPTER": self.adapter.name, **self.adapter.describe(self.environment)}
        for variable in VARIABLES:
            text = self.environment.get(variable.name, variable.default)
            if text is not None:
                shown[variable.name] = REDACTED if variable.is_secret else text
        return shown

    def warnings(self) -> list[str]:
        """Return what an operator should know of who gets in."""
        warnings = []
        policy = self.access_policy
        if policy.carriers and not policy.pairs and policy.networks is None:
            warnings.append(
                "SUPPORT_EXOTEL without EXOTEL_USERNAME, EXOTEL_PASSWORD and EXOTEL_ALLOWED_IPS: "
                "whoever reaches the port may start calls; the network perimeter is trusted"
            )
        if policy.carriers and self["JWT_PUBLIC_KEY"] is not None and policy.tenants is None:
            warnings.append(
                "JWT_PUBLIC_KEY and SUPPORT_EXOTEL without EXOTEL_TENANTS: tenants that use tokens "
                "can be reached without one"
            )
        return warnings


def read_settings(
    adapters: Mapping[str, DestinationAdapter], environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the environment (that of the process by default).

    Raises:
        InvalidSettings: something is wrong; all of it is in the exception.

    """
    problems: list[Problem] = []
    environment = os.environ if environment is None else environment
    adapter = _choose_adapter(adapters, environment, problems)
    names = _NAMES.union(() if adapter is None else adapter.variables)
    resolved = _resolve_files(environment, names, problems)
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = resolved.get(variable.name, variable.default)
        try:
            values[variable.name] = None if text is None else variable.read(text)
        except InvalidValue as error:
            found = REDACTED if variable.is_secret and variable.read is _text else str(error)
            problems.append(Problem(variable.name, found, variable.accepted))
            values[variable.name] = None
    _check_together(resolved, values, problems)
    if adapter is None:
        raise InvalidSettings(problems)
    settings = Settings(adapter, resolved, values)
    _check_adapter(settings, problems)
    if problems:
        raise InvalidSettings(problems)
    return settings


def _resolve_files(
    environment: Mapping[str, str], names: AbstractSet[str], problems: list[Problem]
) -> dict[str, str]:
    resolved = {name: value.strip() for name, value in environment.items() if value.strip()}
    for name, path in environment.items():
        target = name.removesuffix("_FILE")
        if target == name or target not in names or not path:
            continue
        if target in resolved:
            problems.append(Problem(name, f"both {target} and {name}", "one of them"))
            continue
        try:
            resolved[target] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(name, type(error).__name__, "a text file that can be read"))
    return resolved


def _choose_adapter(
    adapters: Mapping[str, DestinationAdapter],
    environment: Mapping[str, str],
    problems: list[Problem],
) -> DestinationAdapter | None:
    name = environment.get("PUBSUB_ADAPTER", "").strip()
    try:
        if name in adapters:
            return adapters[name]
        found = _show(name) if name else "nothing"
    except UnusableAdapter as error:
        found = f"{_show(name)}, which cannot be used: {error}"
    problems.append(Problem("PUBSUB_ADAPTER", found, " · ".join(sorted(adapters))))
    return None


def _check_adapter(settings: Settings, problems: list[Problem]) -> None:
    """Check the adapter's own variables, and that it makes a destination of them."""
    name = settings.adapter.name
    try:
        options = DestinationOptions() if problems else settings.destination_options
        problems += adapter_problems(settings.adapter, options, settings.environment)
    except UnusableAdapter as error:
        found = f"{_show(name)}, which cannot be used: {error}"
        problems.append(Problem("PUBSUB_ADAPTER", found, "an adapter that works"))


def _check_together(
    environment: Mapping[str, str], values: Mapping[str, Any], problems: list[Problem]
) -> None:
    def problem(variable: str, found: str, accepted: str) -> None:
        problems.append(Problem(variable, found, accepted))

    user, password = values["EXOTEL_USERNAME"], values["EXOTEL_PASSWORD"]
    if user is not None and ":" in user:
        problem("EXOTEL_USERNAME", "a colon", "a user name without a colon")
    if (user is None) != (password is None):
        lone, absent = ("EXOTEL_USERNAME", "EXOTEL_PASSWORD")
        if user is None:
            lone, absent = absent, lone
        problem(lone, f"no {absent} beside it", "both or neither")
    if values["EXOTEL_PASSWORD_NEXT"] is not None and password is None:
        problem("EXOTEL_PASSWORD_NEXT", "no EXOTEL_PASSWORD beside it", "a second password")
    if values["SUPPORT_EXOTEL"] is False and "JWT_PUBLIC_KEY" not in environment:
        problem(
            "SUPPORT_EXOTEL",
            "false, and no JWT_PUBLIC_KEY: nobody could connect",
            "true, or a JWT_PUBLIC_KEY",
        )
    expire = values["EXPIRE_SECONDS"]
    for name in ("RETENTION_SECONDS", "IDLE_TIMEOUT_SECONDS", "RESUME_SECONDS"):
        if expire is not None and values[name] is not None and values[name] > expire:
            problem(
                "EXPIRE_SECONDS",
                f"{expire:g}, less than the {values[name]:g} of {name}",
                "at least as much: a live stream would expire",
            )


_NAMES = frozenset(variable.name for variable in VARIABLES)
