"""What a technology implements to be chosen by `PUBSUB_ADAPTER`: a `StoreAdapter`.

Of the adapter `name`, `is_shared` and `connect` have no default, of its destination `store`,
`reader`, `open_runs` and `verify_writable`. One class may be the destination and all of its ports.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from application.ports.open_runs import OpenRuns
from application.ports.publication import Publication, undescribed
from application.ports.reader import StreamReader
from application.ports.store import StreamStore


class NoEmbeddedServer(Exception):
    """An adapter has no server to embed, or cannot start it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting: the variable, what was found (secrets redacted) and what is accepted."""

    variable: str
    found: str
    accepted: str


@dataclass(frozen=True, slots=True)
class VariableHelp:
    """What the documentation says of a variable; `meaning` is a line of Markdown.

    `default` is the text that counts where the variable is not set; None if there is none.
    """

    accepted: str
    meaning: str
    default: str | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """Settings that every destination shares.

    `prefix` keeps installations apart; what belongs to a stream expires `expire_seconds` after its
    last write. What was announced in the last `rewind_seconds` can be announced again. Entries of a
    live stream are kept for `retention_seconds`, which matters to a technology that deletes by age:
    others are told by each append what to forget.
    """

    prefix: str = "rtaa"
    expire_seconds: float = 900.0
    rewind_seconds: float = 5.0
    retention_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a store that fails by itself. An `is_shared` one is needed by every start and end.

    `name` is short and stays the same when another server takes the part over.
    """

    name: str
    is_shared: bool


WHOLE = Part("", is_shared=True)


class Destination(Protocol):
    """A connected technology. Constructing it does no I/O."""

    store: StreamStore
    """The port through which streams are stored."""

    reader: StreamReader
    """The port through which they are read back."""

    open_runs: OpenRuns
    """The port that keeps heartbeats."""

    def parts(self) -> Sequence[Part]:
        """Return the parts as they are known now. Default: the store is one."""
        return (WHOLE,)

    async def verify_writable(self) -> None:
        """Prove with a write that the store takes writes now, all parts of it.

        Raises:
            PublisherError: it does not, and why.

        """
        ...

    async def verify_part(self, part: str) -> None:  # noqa: ARG002  # the store is one
        """Prove with a write that a part takes writes now. Called every second for each.

        Raises:
            PublisherError: it does not, and why.

        """
        await self.verify_writable()

    async def close(self) -> None:
        """Let go of every connection. Calling it again does nothing."""
        return  # a default, where an empty body is an abstract one

    async def advise(self, expected_bytes: int) -> Sequence[str]:  # noqa: ARG002  # for overriders
        """Return warnings for the operator, given how much is expected to be held at most.

        Raises:
            PublisherError: the store could not be asked.

        """
        return ()


class StoreAdapter(Protocol):
    """What is registered for each technology. Inherit from it: it has defaults."""

    name: str
    """The value of `PUBSUB_ADAPTER`."""

    is_shared: bool
    """Whether all processes that connect with the same settings see the same streams."""

    variables: Sequence[str] = ()
    """The names of the adapter's own variables."""

    variable_help: Mapping[str, VariableHelp] = {}
    """What the documentation says of them, by name."""

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Return all that is wrong with the adapter's own variables. Default: they are required."""
        return [
            Problem(variable, "nothing", "a value")
            for variable in self.variables
            if not environment.get(variable)
        ]

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return the adapter's own variables as they may be shown. Default: all are secret."""
        return {name: "***" for name in self.variables if environment.get(name)}

    def grants(self, options: DestinationOptions) -> Sequence[str]:  # noqa: ARG002  # for overriders
        """Return what an operator runs or writes to allow the service just what it needs there.

        A line each, with USER and PASSWORD where they belong. Default: there is nothing to grant.
        """
        return ()

    def publication(self, options: DestinationOptions) -> Publication:  # noqa: ARG002
        """Describe where consumers find what is published, and in which form.

        Default: entries of each kind, at addresses and in a form that only the store knows.
        """
        return undescribed(self.name)

    def embedded(self) -> AbstractContextManager[Mapping[str, str]]:
        """Start a throw-away server of the technology; give the variables that lead to it.

        It ends with the context, or with this process, however that dies, and what it stored with
        it. Default: there is none.

        Raises:
            NoEmbeddedServer: there is none, or something is missing for it; the message says what.

        """
        raise NoEmbeddedServer(f"{self.name} has no server to embed")

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> Destination:
        """Construct the destination; `environment` has no problems. Does no I/O."""
        ...
