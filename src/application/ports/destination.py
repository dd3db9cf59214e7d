"""What the service needs to know of a technology that streams are published to."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from application.ports.open_runs import OpenRuns
from application.ports.publisher import StreamPublisher
from application.ports.reader import StreamReader


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting: the variable, what was found (secrets redacted) and what is accepted."""

    variable: str
    found: str
    accepted: str


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """Settings that every destination shares.

    `prefix` keeps installations apart; what belongs to a stream is forgotten `expire_seconds`
    after its last write. What was announced in the last `rewind_seconds` can be announced again.
    """

    prefix: str = "rtaa"
    expire_seconds: float = 900.0
    rewind_seconds: float = 5.0


class Destination(Protocol):
    """A connected technology. Constructing it does no I/O."""

    @property
    def publisher(self) -> StreamPublisher:
        """The port through which streams are published."""
        ...

    @property
    def reader(self) -> StreamReader:
        """The port through which they are read back."""
        ...

    @property
    def open_runs(self) -> OpenRuns:
        """The port that knows which runs nobody tends."""
        ...

    async def close(self) -> None:
        """Let go of every connection. Calling it again does nothing."""
        ...

    async def verify_writable(self) -> None:
        """Prove with a write that the destination takes writes now.

        Raises:
            PublisherError: it does not, and why.

        """
        ...

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        """Return warnings for the operator, given how much is expected to be held at most.

        Raises:
            PublisherError: the destination could not be asked.

        """
        ...


class Trial(Protocol):
    """A destination of one's own to try an adapter on, that can be taken away and given back."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that connect to it."""
        ...

    async def unplug(self) -> None:
        """Make the destination unreachable; what it stored stays."""
        ...

    async def plug(self) -> None:
        """Make it reachable again."""
        ...

    async def wipe(self) -> None:
        """Make it forget everything it stored; it is plugged."""
        ...


class DestinationAdapter(Protocol):
    """What is registered for each technology; `PUBSUB_ADAPTER` chooses one by name."""

    @property
    def name(self) -> str:
        """The value of `PUBSUB_ADAPTER`."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether all processes that connect with the same settings see the same streams."""
        ...

    @property
    def variables(self) -> Sequence[str]:
        """The names of the adapter's own variables."""
        ...

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Return all that is wrong with the adapter's own variables."""
        ...

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return the adapter's own variables as they may be shown: secrets redacted."""
        ...

    def grants(self, options: DestinationOptions) -> Sequence[str]:
        """Return what an operator runs or writes to allow the service just what it needs there.

        A line each, with USER and PASSWORD where they belong; none if there is nothing to grant.
        """
        ...

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> Destination:
        """Construct the destination; `environment` has no problems. Does no I/O."""
        ...

    def trial(self) -> AbstractAsyncContextManager[Trial]:
        """Provide a fresh, empty destination for the contract tests."""
        ...
