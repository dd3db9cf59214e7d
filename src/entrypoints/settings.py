"""Settings from the environment, all mistakes reported at once.

`environment` gives the texts, `variables` reads each of them; here is what only shows in several of
them together, and what an operator should know.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.outbound.jwt_rs256 import JwtRs256Verifier
from application.admit_sender import AccessPolicy
from application.delivery.byte_budget import BufferLimits
from application.ports.destination import DestinationOptions, Problem, StoreAdapter
from entrypoints.environment import Environment, read_environment
from entrypoints.misspelt import find_misspelt
from entrypoints.registry import UnusableAdapter, adapter_problems
from entrypoints.variables import VARIABLES, InvalidValue, show

REDACTED = "***"

ADAPTER = "PUBSUB_ADAPTER"
"""The variable that names the adapter, and with it all further variables."""

PORTS = ("PORT", "OPERATIONS_PORT")
"""The variables whose values are ports to listen on."""

Examine = Callable[[str, Mapping[str, int]], Sequence[Problem]]
"""Tries whether the service can listen on a host and ports, these by their variables."""


class InvalidSettings(Exception):
    """The environment does not make a service that works; `problems` lists every reason.

    `remarks` are what may be behind them.
    """

    def __init__(self, problems: Sequence[Problem], remarks: Sequence[str] = ()) -> None:
        self.problems = problems
        self.remarks = remarks
        lines = [f"  {p.variable}: found {p.found}; accepted: {p.accepted}" for p in problems]
        lines += [f"  {remark}" for remark in remarks]
        super().__init__("\n".join(["the configuration is not usable:", *lines]))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service runs with; `values` holds one value for each of `VARIABLES`.

    `files` are the variables whose text comes from a file, `remarks` what is odd about a text or a
    name. `read_again` reads the same environment, with its files as they are then.
    """

    adapter: StoreAdapter
    environment: Mapping[str, str] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    files: frozenset[str]
    remarks: tuple[str, ...]
    read_again: Callable[[], "Settings"] = field(repr=False)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # of the variable's own type
        return self.values[name]

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports to listen on, by their variables."""
        return _ports(self.values)

    @property
    def destination_options(self) -> DestinationOptions:
        """What every destination is told."""
        return _options(self.values)

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

    @property
    def token_verifier(self) -> JwtRs256Verifier | None:
        """What verifies tokens; None if none is accepted."""
        if self["JWT_PUBLIC_KEY"] is None:
            return None
        return JwtRs256Verifier(
            self["JWT_PUBLIC_KEY"],
            audience=self["JWT_AUDIENCE"],
            issuer=self["JWT_ISSUER"],
            leeway_seconds=self["JWT_LEEWAY_SECONDS"],
        )

    def describe(self) -> dict[str, str]:
        """Return every variable with its value as it may be shown."""
        shown = {ADAPTER: self.adapter.name, **self.adapter.describe(self.environment)}
        for variable in VARIABLES:
            text = self.environment.get(variable.name, variable.default)
            if text is not None:
                shown[variable.name] = REDACTED if variable.is_secret else text
        return shown

    def warnings(self) -> list[str]:
        """Return what an operator should know: of odd texts and names, and of who gets in."""
        warnings = list(self.remarks)
        policy = self.access_policy
        if policy.carriers and not policy.pairs and policy.networks is None:
            warnings.append(
                "SUPPORT_EXOTEL without EXOTEL_USERNAME, EXOTEL_PASSWORD and EXOTEL_ALLOWED_IPS: "
                "every peer that reaches the port may start calls; the network perimeter is trusted"
            )
        if policy.carriers and self["JWT_PUBLIC_KEY"] is not None and policy.tenants is None:
            warnings.append(
                "JWT_PUBLIC_KEY and SUPPORT_EXOTEL without EXOTEL_TENANTS: tenants that use tokens "
                "can be reached without one"
            )
        return warnings


def known_names(adapter: StoreAdapter | None) -> frozenset[str]:
    """Return the names of all variables that mean something with `adapter`, without `NAME_FILE`."""
    own = {ADAPTER, *(variable.name for variable in VARIABLES)}
    return frozenset(own).union(() if adapter is None else adapter.variables)


def read_settings(
    adapters: Mapping[str, StoreAdapter],
    variables: Mapping[str, str] | None = None,
    examine: Examine | None = None,
) -> Settings:
    """Read `variables`, those of the process by default; `examine` tries `HOST` and the ports.

    Raises:
        InvalidSettings: something is wrong; all of it is in the exception.

    """
    variables = dict(os.environ if variables is None else variables)
    problems: list[Problem] = []
    adapter = _choose_adapter(adapters, variables, problems)
    names = known_names(adapter)
    environment = read_environment(variables, names)
    problems += environment.problems
    values = _read_values(environment, problems)
    _check_together(environment, values, problems)
    if examine is not None and values["HOST"] is not None:
        problems += examine(values["HOST"], _ports(values))
    if adapter is not None:
        problems += _problems_of(adapter, environment, values, is_usable=not problems)
    remarks = (
        *_of_misspelt_names(variables, names, problems),
        *_of_quotes(environment, names),
        *_of_blank_guards(variables, environment),
    )
    if problems or adapter is None:
        raise InvalidSettings(problems, remarks)
    return Settings(
        adapter,
        environment.texts,
        values,
        environment.files,
        remarks,
        lambda: read_settings(adapters, variables),
    )


def _read_values(environment: Environment, problems: list[Problem]) -> dict[str, Any]:
    """Read each variable; None is one that is not set, or wrong."""
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = environment.texts.get(variable.name, variable.default)
        values[variable.name] = None
        if text is None or variable.name in environment.failed:
            continue
        try:
            values[variable.name] = variable.read(text)
        except InvalidValue as error:
            problems.append(Problem(variable.name, str(error), variable.accepted))
    return values


def _ports(values: Mapping[str, Any]) -> Mapping[str, int]:
    return {name: values[name] for name in PORTS if values[name] is not None}


def _choose_adapter(
    adapters: Mapping[str, StoreAdapter],
    variables: Mapping[str, str],
    problems: list[Problem],
) -> StoreAdapter | None:
    """Return the adapter that `PUBSUB_ADAPTER` names; the others are not even imported."""
    environment = read_environment(variables, {ADAPTER})
    name = environment.texts.get(ADAPTER, "")
    if ADAPTER in environment.failed:  # its file is a problem that is told with those of the others
        return None
    try:
        if name in adapters:
            return adapters[name]
        found = show(name) if name else "nothing"
    except UnusableAdapter as error:
        found = f"{show(name)}, which cannot be used: {error}"
    problems.append(Problem(ADAPTER, found, " · ".join(sorted(adapters))))
    return None


def _options(values: Mapping[str, Any]) -> DestinationOptions:
    return DestinationOptions(
        values["STREAM_PREFIX"],
        values["EXPIRE_SECONDS"],
        values["REWIND_SECONDS"],
        values["RETENTION_SECONDS"],
    )


def _problems_of(
    adapter: StoreAdapter,
    environment: Environment,
    values: Mapping[str, Any],
    *,
    is_usable: bool,
) -> list[Problem]:
    """Check the adapter's own variables, and that it makes a destination of them."""
    options = _options(values) if is_usable else DestinationOptions()
    try:
        problems = adapter_problems(adapter, options, environment.texts)
    except UnusableAdapter as error:
        found = f"{show(adapter.name)}, which cannot be used: {error}"
        return [Problem(ADAPTER, found, "an adapter that works")]
    failed = environment.failed  # whose files are problems already
    return [problem for problem in problems if problem.variable not in failed]


def _check_together(
    environment: Environment, values: Mapping[str, Any], problems: list[Problem]
) -> None:
    def problem(variable: str, found: str, accepted: str) -> None:
        problems.append(Problem(variable, found, accepted))

    is_given = environment.is_given
    if is_given("EXOTEL_USERNAME") != is_given("EXOTEL_PASSWORD"):
        lone, absent = ("EXOTEL_USERNAME", "EXOTEL_PASSWORD")
        if not is_given(lone):
            lone, absent = absent, lone
        problem(lone, f"no {absent} beside it", "both or neither")
    if is_given("EXOTEL_PASSWORD_NEXT") and not is_given("EXOTEL_PASSWORD"):
        problem("EXOTEL_PASSWORD_NEXT", "no EXOTEL_PASSWORD beside it", "a second password")
    if values["SUPPORT_EXOTEL"] is False and not is_given("JWT_PUBLIC_KEY"):
        problem(
            "SUPPORT_EXOTEL",
            "false, and no JWT_PUBLIC_KEY: no sender could connect",
            "true, or a JWT_PUBLIC_KEY",
        )
    operations_port = values["OPERATIONS_PORT"]
    if operations_port is not None and operations_port == values["PORT"]:
        problem("OPERATIONS_PORT", f"{operations_port}, as PORT", "another port, or none")
    expire = values["EXPIRE_SECONDS"]
    for name in ("RETENTION_SECONDS", "IDLE_TIMEOUT_SECONDS", "RESUME_SECONDS"):
        if expire is not None and values[name] is not None and values[name] > expire:
            problem(
                "EXPIRE_SECONDS",
                f"{expire:g}, less than the {values[name]:g} of {name}",
                "at least as much: a live stream would expire",
            )


def _of_misspelt_names(
    variables: Mapping[str, str], names: frozenset[str], problems: Sequence[Problem]
) -> list[str]:
    missing = {problem.variable for problem in problems}
    return [
        f"{name} is set, which has no meaning here: {meant} is nearly the same name"
        for name, meant in find_misspelt(variables, names, missing).items()
    ]


def _of_quotes(environment: Environment, names: frozenset[str]) -> list[str]:
    """Warn of quotes that a shell would have taken away; those of a PEM are tolerated."""
    return [
        f"{name} begins and ends with a quote, which is taken as part of the value"
        for name in sorted(names - {"JWT_PUBLIC_KEY"})
        if _is_quoted(environment.texts.get(name, ""))
    ]


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _of_blank_guards(variables: Mapping[str, str], environment: Environment) -> list[str]:
    return [
        f"{variable.name} is set to nothing, which counts as not set: it keeps no sender out"
        for variable in VARIABLES
        if variable.guards
        and variable.name in variables
        and not environment.is_given(variable.name)
    ]
