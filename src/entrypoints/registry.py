"""The destinations that `PUBSUB_ADAPTER` can name: a new one is one file and one line here.

A distribution of its own registers in the entry-point group `rtaa_ingest.destinations`. One that
cannot be loaded is a problem of those who choose it, and of no other.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from adapters.outbound.in_memory import InMemory
from adapters.outbound.redis_streams.destination import RedisStreams
from application.ports.destination import (
    Destination,
    DestinationOptions,
    Problem,
    StoreAdapter,
)

ENTRY_POINT_GROUP = "rtaa_ingest.destinations"

MEMBERS = ("name", "is_shared", "variables", "problems", "describe", "connect")
"""What the service asks of an adapter."""

_OWN: tuple[StoreAdapter, ...] = (
    RedisStreams(),
    InMemory(),
)


class UnusableAdapter(StoreAdapter):
    """Stands for an adapter of another distribution that cannot be used, and tells why."""

    is_shared = False
    variables = ()

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002  # the port's
        """Tell why it cannot be used."""
        accepted = "an adapter that can be loaded; install its distribution anew"
        return [Problem("PUBSUB_ADAPTER", f"{self.name}, which {self._why}", accepted)]

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002  # the port's
        """There is nothing to show."""
        return {}

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> Destination:  # noqa: ARG002  # the port's
        """Refuse: there is a problem."""
        raise RuntimeError(f"{self.name} {self._why}")


def destination_adapters() -> Mapping[str, StoreAdapter]:
    """Return all registered adapters by name; our own names cannot be taken over."""
    others = [_load(point) for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {adapter.name: adapter for adapter in (*others, *_OWN)}


def _load(point: EntryPoint) -> StoreAdapter:
    try:
        adapter: StoreAdapter = point.load()()
    except Exception as error:  # noqa: BLE001  # another distribution may raise anything
        # What an import says names modules; what else is raised may repeat a secret.
        told = f": {error}" if isinstance(error, ImportError) else ""
        why = f"cannot be loaded from {point.value}: {type(error).__name__}{told}"
        return UnusableAdapter(point.name, why)
    absent = [member for member in MEMBERS if not hasattr(adapter, member)]
    if absent:
        return UnusableAdapter(point.name, f"lacks {', '.join(absent)}")
    return adapter
