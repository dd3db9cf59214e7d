"""The settings read from the environment, once, with all mistakes reported together.

`environment` provides the texts, `settings` the types. This module checks conditions on several
variables together, and warns of suspicious texts and names.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec import structs

from application.ports.destination import DestinationOptions, Problem, StoreAdapter
from entrypoints.environment import Environment, read_environment
from entrypoints.misspelt import find_misspelt
from entrypoints.registry import UnusableAdapter, adapter_problems
from entrypoints.setting_groups import (
    ADAPTER,
    VARIABLES,
    Access,
    Buffers,
    Calls,
    Listening,
    Logging,
    Streams,
    Traces,
)
from entrypoints.settings import Settings, options_of, ports_of
from entrypoints.trace_variables import (
    NO_EXTRA,
    OF_THE_SDK,
    is_installed,
    problems_of_limits,
    traces_asked_by,
)
from entrypoints.value_kinds import InvalidValue, show
from entrypoints.variables import Group, declared

G = TypeVar("G", bound=Group)

Examine = Callable[[str, Mapping[str, int]], Sequence[Problem]]
"""Tries whether the service can listen on a host and ports, these by their variables."""


class InvalidSettings(Exception):
    """The environment does not configure a working service; `problems` lists every reason.

    `remarks` are possible causes.
    """

    def __init__(self, problems: Sequence[Problem], remarks: Sequence[str] = ()) -> None:
        self.problems = problems
        self.remarks = remarks
        lines = [f"  {p.variable}: found {p.found}; accepted: {p.accepted}" for p in problems]
        lines += [f"  {remark}" for remark in remarks]
        super().__init__("\n".join(["the configuration is not usable:", *lines]))


def known_names(adapter: StoreAdapter | None) -> frozenset[str]:
    """Return the names of all variables that `adapter` or the service uses, without `NAME_FILE`."""
    return frozenset({ADAPTER, *VARIABLES}).union(() if adapter is None else adapter.variables)


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
    reader = Reader(environment)
    access, listening, calls = reader.read(Access), reader.read(Listening), reader.read(Calls)
    buffers, streams, logging = reader.read(Buffers), reader.read(Streams), reader.read(Logging)
    traces, no_traces = _read_traces(reader)
    problems += reader.problems
    problems += _of_access(access, reader)
    problems += _of_ports(listening, reader, examine)
    problems += _of_expiry(streams, calls, reader)
    if adapter is not None:
        options = DestinationOptions() if problems else options_of(streams, buffers)
        problems += _of_adapter(adapter, options, environment)
    remarks = (
        *_of_misspelt_names(variables, names, problems),
        *_of_quotes(environment, names),
        *_of_blank_guards(variables, environment),
        *no_traces,
    )
    if problems or adapter is None:
        raise InvalidSettings(problems, remarks)
    return Settings(
        access=access,
        listening=listening,
        calls=calls,
        buffers=buffers,
        streams=streams,
        logging=logging,
        traces=traces,
        adapter=adapter,
        texts=environment.texts,
        files=environment.files,
        remarks=remarks,
        read_again=lambda: read_settings(adapters, variables),
    )


def adapter_name(variables: Mapping[str, str]) -> str:
    """Return what `PUBSUB_ADAPTER`, or its file, says; nothing if it is not set.

    Raises:
        InvalidSettings: it is set wrongly.

    """
    environment = read_environment(variables, {ADAPTER})
    if environment.problems:
        raise InvalidSettings(environment.problems)
    return environment.texts.get(ADAPTER, "")


@dataclass(slots=True)
class Reader:
    """Reads groups; a wrong variable gets its default there, and a problem in `problems`."""

    environment: Environment
    problems: list[Problem] = field(default_factory=list)
    _wrong: set[str] = field(default_factory=set)

    def read(self, group: type[G]) -> G:
        """Return a group, each of its variables as it is set, or else its default."""
        given: dict[str, object] = {}
        for name, attribute, variable in declared(group):
            text = self.environment.texts.get(name)
            if text is None:
                continue
            try:
                given[attribute] = variable.kind.read(text)
            except InvalidValue as error:
                self.problems.append(Problem(name, str(error), variable.accepted))
                self._wrong.add(name)
        return structs.replace(group(), **given)

    def is_given(self, name: str) -> bool:
        """Whether the operator has set a variable, rightly or wrongly.

        Raises:
            KeyError: no variable is declared by that name.

        """
        return self.environment.is_given(_declared_name(name))

    def is_right(self, *names: str) -> bool:
        """Whether each of the variables is not set, or set to a value that it takes.

        Raises:
            KeyError: no variable is declared by one of the names.

        """
        wrong = self._wrong | self.environment.failed
        return wrong.isdisjoint([_declared_name(name) for name in names])


def _declared_name(name: str) -> str:
    if name not in VARIABLES:
        raise KeyError(name)
    return name


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


def _of_adapter(
    adapter: StoreAdapter, options: DestinationOptions, environment: Environment
) -> list[Problem]:
    """Check the adapter's own variables, and that it can construct a destination."""
    try:
        problems = adapter_problems(adapter, options, environment.texts)
    except UnusableAdapter as error:
        found = f"{show(adapter.name)}, which cannot be used: {error}"
        return [Problem(ADAPTER, found, "an adapter that works")]
    failed = environment.failed  # whose files are problems already
    return [problem for problem in problems if problem.variable not in failed]


def _of_access(access: Access, reader: Reader) -> list[Problem]:
    problems = []
    is_given = reader.is_given
    if is_given("EXOTEL_USERNAME") != is_given("EXOTEL_PASSWORD"):
        lone, absent = ("EXOTEL_USERNAME", "EXOTEL_PASSWORD")
        if not is_given(lone):
            lone, absent = absent, lone
        problems.append(Problem(lone, f"no {absent} beside it", "both or neither"))
    if is_given("EXOTEL_PASSWORD_NEXT") and not is_given("EXOTEL_PASSWORD"):
        found = "no EXOTEL_PASSWORD beside it"
        problems.append(Problem("EXOTEL_PASSWORD_NEXT", found, "a second password"))
    has_key = is_given("JWT_PUBLIC_KEY")
    if reader.is_right("SUPPORT_EXOTEL") and not access.support_exotel and not has_key:
        found = "false, and no JWT_PUBLIC_KEY: no sender could connect"
        problems.append(Problem("SUPPORT_EXOTEL", found, "true, or a JWT_PUBLIC_KEY"))
    return problems


def _of_ports(listening: Listening, reader: Reader, examine: Examine | None) -> list[Problem]:
    problems = []
    ports = {name: port for name, port in ports_of(listening).items() if reader.is_right(name)}
    if len(ports) > len(set(ports.values())):
        found = f"{listening.operations_port}, as PORT"
        problems.append(Problem("OPERATIONS_PORT", found, "another port, or none"))
    if examine is not None and reader.is_right("HOST"):
        problems += examine(listening.host, ports or {"PORT": 0})  # `HOST` alone is tried too
    return problems


def _of_expiry(streams: Streams, calls: Calls, reader: Reader) -> list[Problem]:
    expire = streams.expire_seconds
    kept = {
        "RETENTION_SECONDS": streams.retention_seconds,
        "IDLE_TIMEOUT_SECONDS": calls.idle_timeout_seconds,
        "RESUME_SECONDS": calls.resume_seconds,
    }
    return [
        Problem(
            "EXPIRE_SECONDS",
            f"{expire:g}, less than the {seconds:g} of {name}",
            "at least as much: a live stream would expire",
        )
        for name, seconds in kept.items()
        if seconds > expire and reader.is_right(name, "EXPIRE_SECONDS")
    ]


def _read_traces(reader: Reader) -> tuple[Traces | None, list[str]]:
    """Return the settings of traces if they are on; else why not, if they are requested.

    Without traces wrong values are ignored: a platform may set them for all its services.
    """
    asked_by = traces_asked_by(reader.environment.texts)
    if asked_by is None:
        return None, []
    if not is_installed():
        return None, [f"{asked_by} {NO_EXTRA}"]
    reader.problems += problems_of_limits(reader.environment.texts)
    return reader.read(Traces), []


def _of_misspelt_names(
    variables: Mapping[str, str], names: frozenset[str], problems: Sequence[Problem]
) -> list[str]:
    missing = {problem.variable for problem in problems}
    return [
        f"{name} is set, which has no meaning here: {meant} is nearly the same name"
        for name, meant in find_misspelt(variables, names | OF_THE_SDK, missing).items()
    ]


def _of_quotes(environment: Environment, names: frozenset[str]) -> list[str]:
    """Warn of quotes that a shell would have removed; those of a PEM are tolerated."""
    return [
        f"{name} begins and ends with a quote, which is taken as part of the value"
        for name in sorted(names - {"JWT_PUBLIC_KEY"})
        if _is_quoted(environment.texts.get(name, ""))
    ]


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _of_blank_guards(variables: Mapping[str, str], environment: Environment) -> list[str]:
    return [
        f"{name} is set to nothing, which counts as not set: it keeps no sender out"
        for name, variable in VARIABLES.items()
        if variable.guards and name in variables and not environment.is_given(name)
    ]
