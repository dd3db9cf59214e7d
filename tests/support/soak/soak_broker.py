"""What a soak needs of a broker: servers of its own, faults, and a way to read as a consumer does.

A new kind of broker is one class like `soak_sentinel.SentinelSoak` and one line in
`soak_brokers.SOAK_BROKERS`.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar, Protocol, Self

from history import Entry, SentStream
from soak_plan import Plan, Planned


class Unreadable(Exception):
    """The broker cannot be read now; later perhaps."""


class Reader(Protocol):
    """Reads what is stored, with none of our code, from whatever server is the right one then.

    It is asked in a thread, between two faults and never during one.

    Raises:
        Unreadable: by each method: it could not be asked.

    """

    def entries(self, stream: SentStream) -> list[Entry]:
        """Return what is published of a stream, in order."""
        ...

    def announced(self, seconds: float) -> set[tuple[str, str]]:
        """Return type and event id of the starts and ends announced within the last seconds."""
        ...

    def delete(self, streams: Sequence[SentStream]) -> None:
        """Delete streams of which the service holds nothing any more; they may be gone."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class SoakBroker(Protocol):
    """A broker with servers of its own, as long as the context lasts."""

    rest_seconds: ClassVar[float]
    """How long after a fault nothing is judged or deleted: the service may still be replaying, and
    holds what it has replayed as long as what is new."""

    frames_between: ClassVar[int]
    """How many frames are confirmed between the end of a fault and the next."""

    def __init__(self, plan: Plan) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What a service has to be told to use it."""
        ...

    @staticmethod
    def draw(plan: Plan, rng: Random) -> list[Planned]:
        """Draw what is done to it; `plan.moments` spreads it over the whole soak."""
        ...

    def do(self, planned: Planned, live: Sequence[SentStream]) -> None:
        """Carry out what was drawn, and return when all servers are well again.

        It may block. `live` are the streams that are being sent.

        Raises:
            AssertionError: what was to come of it did not, within its time.

        """
        ...

    def reader(self) -> Reader:
        """Return a new reader."""
        ...

    def told(self) -> str:
        """Tell how much went wrong, in a few words."""
        ...

    def missing(self) -> list[str]:
        """Tell what was planned and did not come true: a soak without it proves nothing."""
        ...
