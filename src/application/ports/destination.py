"""The interface of a technology that `PUBSUB_ADAPTER` can choose: `StoreAdapter`.

Members without a default are `name`, `is_shared` and `connect` of the adapter, and `store`,
`reader`, `open_runs` and `verify_writable` of its destination. One class may be the destination and
all of its ports.
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
    """The adapter cannot embed a server, or cannot start it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting: the variable, what was found (secrets redacted) and what is accepted."""

    variable: str
    found: str
    accepted: str


@dataclass(frozen=True, slots=True)
class VariableHelp:
    """The documentation of a variable; `meaning` is a line of Markdown.

    `default` is the text that is used if the variable is not set; None if there is none.
    """

    accepted: str
    meaning: str
    default: str | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """Settings that every destination shares.

    `prefix` separates installations. The data of a stream expires `expire_seconds` after its last
    write. Announcements of the last `rewind_seconds` can be repeated. Entries of a live stream are
    kept for `retention_seconds`, which only a technology that deletes by age needs: for others each
    append has `keep_from`.
    """

    prefix: str = "rtaa"
    expire_seconds: float = 900.0
    rewind_seconds: float = 5.0
    retention_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a store, which can fail alone. Every start and end needs an `is_shared` part.

    `name` is short, and does not change when another server takes the part over.
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
    """The port that stores heartbeats."""

    def parts(self) -> Sequence[Part]:
        """Return the currently known parts. Default: the store is one part."""
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
        """Release every connection. Idempotent."""
        return  # a default, where an empty body is an abstract one

    async def advise(self, expected_bytes: int) -> Sequence[str]:  # noqa: ARG002  # for overriders
        """Return warnings for the operator, given the maximum of bytes that will be stored.

        Raises:
            PublisherError: the store could not be asked.

        """
        return ()


class StoreAdapter(Protocol):
    """The registered object of each technology. Inherit from it: it has defaults."""

    name: str
    """The value of `PUBSUB_ADAPTER`."""

    is_shared: bool
    """Whether all processes that connect with the same settings see the same streams."""

    variables: Sequence[str] = ()
    """The names of the adapter's own variables."""

    variable_help: Mapping[str, VariableHelp] = {}
    """Their documentation, by name."""

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Return the problems of the adapter's own variables. Default: they are required."""
        return [
            Problem(variable, "nothing", "a value")
            for variable in self.variables
            if not environment.get(variable)
        ]

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return the adapter's own variables without secrets. Default: all are secret."""
        return {name: "***" for name in self.variables if environment.get(name)}

    def grants(self, options: DestinationOptions) -> Sequence[str]:  # noqa: ARG002  # for overriders
        """Return the commands or lines that grant the service exactly the rights it needs.

        One line each, with USER and PASSWORD as placeholders. Default: there is nothing to grant.
        """
        return ()

    def publication(self, options: DestinationOptions) -> Publication:  # noqa: ARG002
        """Describe the addresses and the format of published entries, for consumers.

        Default: entries of each kind, without addresses or format.
        """
        return undescribed(self.name)

    def embedded(self) -> AbstractContextManager[Mapping[str, str]]:
        """Start a throw-away server of the technology; yield the variables that lead to it.

        It ends, and its data is deleted, with the context, or with this process, however that dies.
        Default: there is none.

        Raises:
            NoEmbeddedServer: there is none, or something is missing for it; the message says what.

        """
        raise NoEmbeddedServer(f"{self.name} has no server to embed")

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> Destination:
        """Construct the destination; `environment` has no problems. Does no I/O."""
        ...
