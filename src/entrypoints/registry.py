"""The destinations that `PUBSUB_ADAPTER` can name: a new one is one file and one line here.

A separate distribution registers in the entry-point group `rtaa_ingest.destinations`, under the
name for `PUBSUB_ADAPTER`. Each is imported only when it is chosen, so that a broken one does not
affect others.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import EntryPoint
from typing import Any

from application.ports.destination import (
    Destination,
    DestinationOptions,
    Problem,
    StoreAdapter,
)
from application.ports.open_runs import OpenRuns
from application.ports.reader import StreamReader
from application.ports.store import StreamStore
from entrypoints.plug_ins import UnusablePlugIn, check_members, load, points_by_name, told

ENTRY_POINT_GROUP = "rtaa_ingest.destinations"

_OWN: Mapping[str, str] = {
    "redis_streams": "adapters.outbound.redis_streams.destination:RedisStreams",
    "nats_jetstream": "adapters.outbound.nats_jetstream.destination:NatsJetStream",
    "in_memory": "adapters.outbound.in_memory:InMemory",
}
"""The built-in ones by name, imported when they are chosen."""

_DEFAULTS = (
    "variables", "problems", "describe", "grants", "publication", "embedded", "close", "advise",
    "parts", "verify_part", "part_of", "newest",
)  # fmt: skip
"""Members of the ports that have a default."""


class UnusableAdapter(UnusablePlugIn):
    """An adapter that is chosen cannot be used; the message says why."""


class StoreAdapters(Mapping[str, StoreAdapter]):
    """All registered adapters by name; built-in names are reserved.

    Installed ones are looked up only for a name that is not built in.
    """

    @cached_property
    def _points(self) -> Mapping[str, Sequence[EntryPoint]]:
        return points_by_name(ENTRY_POINT_GROUP, _OWN)

    def __iter__(self) -> Iterator[str]:
        return iter((*_OWN, *self._points))

    def __len__(self) -> int:
        return len(_OWN) + len(self._points)

    def __contains__(self, name: object) -> bool:
        return name in _OWN or name in self._points

    def __getitem__(self, name: str) -> StoreAdapter:
        """Return an adapter; import it if it is not our own.

        Raises:
            KeyError: no adapter has that name.
            UnusableAdapter: it cannot be loaded, or is none.

        """
        return _own(name) if name in _OWN else _load(name, self._points[name])


@cache
def _own(name: str) -> StoreAdapter:
    adapter: StoreAdapter = EntryPoint(name, _OWN[name], ENTRY_POINT_GROUP).load()()
    return adapter


def destination_adapters() -> StoreAdapters:
    """Return all registered adapters."""
    return StoreAdapters()


def adapter_problems(
    adapter: StoreAdapter, options: DestinationOptions, environment: Mapping[str, str]
) -> Sequence[Problem]:
    """Return the problems of the adapter's variables.

    Raises:
        UnusableAdapter: the adapter itself fails at that.

    """
    try:
        problems = list(adapter.problems(environment))
        if not problems:
            _check_destination(adapter.connect(options, environment))
    except UnusablePlugIn as error:
        raise UnusableAdapter(str(error)) from error
    except (Exception, SystemExit) as error:  # of a distribution that is not ours: anything
        raise UnusableAdapter(told(error)) from error
    return problems


def _check_destination(destination: Destination) -> None:
    for what, thing, port in (
        ("its destination", destination, Destination),
        ("its store", destination.store, StreamStore),
        ("its reader", destination.reader, StreamReader),
        ("its open_runs", destination.open_runs, OpenRuns),
    ):
        check_members(what, thing, port, _DEFAULTS)


def _load(name: str, points: Sequence[EntryPoint]) -> StoreAdapter:
    def check(adapter: StoreAdapter) -> None:
        check_members("it", adapter, StoreAdapter, _DEFAULTS)
        if adapter.name != name:
            raise UnusablePlugIn(f"it calls itself {adapter.name!r}")
        variables: Any = adapter.variables
        if isinstance(variables, str) or not all(isinstance(it, str) for it in variables):
            raise UnusablePlugIn("its variables are no sequence of names")

    try:
        return load(points, check)
    except UnusablePlugIn as error:
        raise UnusableAdapter(str(error)) from error
