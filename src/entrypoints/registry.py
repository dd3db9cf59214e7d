"""The destinations that `PUBSUB_ADAPTER` can name: a new one is one file and one line here.

A distribution of its own registers in the entry-point group `rtaa_ingest.destinations`.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points

from adapters.outbound.in_memory import InMemory
from adapters.outbound.redis_streams.destination import RedisStreams
from application.ports.destination import DestinationAdapter

ENTRY_POINT_GROUP = "rtaa_ingest.destinations"

_OWN: tuple[DestinationAdapter, ...] = (
    RedisStreams(),
    InMemory(),
)


def destination_adapters() -> Mapping[str, DestinationAdapter]:
    """Return all registered adapters by name; our own names cannot be taken over."""
    others = [point.load()() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {adapter.name: adapter for adapter in (*others, *_OWN)}
