"""The destinations that `PUBSUB_ADAPTER` can name: a new one is one file and one line here.

A distribution of its own registers in the entry-point group `rtaa_ingest.destinations`, under the
name by which it is chosen. Each is imported only when it is chosen, so that a broken one harms
no other.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, distributions
from inspect import getattr_static
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

ENTRY_POINT_GROUP = "rtaa_ingest.destinations"

_OWN: Mapping[str, str] = {
    "redis_streams": "adapters.outbound.redis_streams.destination:RedisStreams",
    "nats_jetstream": "adapters.outbound.nats_jetstream.destination:NatsJetStream",
    "in_memory": "adapters.outbound.in_memory:InMemory",
}
"""Our own, by name: imported when they are chosen."""

_VALUES = ("name", "is_shared", "store", "reader", "open_runs")
"""Members of the ports that are values and have no default."""

_DEFAULTS = (
    "problems", "describe", "grants", "embedded", "close", "advise", "parts", "verify_part",
    "part_of",
)  # fmt: skip
"""Methods of the ports that have one."""


_log = logging.getLogger(__name__)


class UnusableAdapter(Exception):
    """An adapter that is chosen cannot be used; the message says why."""


class StoreAdapters(Mapping[str, StoreAdapter]):
    """All registered adapters by name; our own names cannot be taken over.

    What others are installed is looked up when a name is asked for that is not our own.
    """

    @cached_property
    def _points(self) -> Mapping[str, Sequence[EntryPoint]]:
        points: dict[str, list[EntryPoint]] = {}
        for point in _entry_points():
            if point.name not in _OWN:
                points.setdefault(point.name, []).append(point)
        return points

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
    module, _, class_name = _OWN[name].partition(":")
    adapter: StoreAdapter = getattr(import_module(module), class_name)()
    return adapter


def _entry_points() -> Iterator[EntryPoint]:
    """Yield the entry points of our group, from every distribution whose metadata can be read."""
    seen: set[str] = set()
    for distribution in distributions():
        try:
            name, points = (
                distribution.name,
                distribution.entry_points.select(group=ENTRY_POINT_GROUP),
            )
        except Exception as error:  # noqa: BLE001  # of a distribution that is not ours
            _log.warning("a distribution's metadata cannot be read", extra={"error": _told(error)})
            continue
        if name not in seen:  # the first on the path is the one that is imported
            seen.add(name)
            yield from points


def destination_adapters() -> StoreAdapters:
    """Return all registered adapters."""
    return StoreAdapters()


def adapter_problems(
    adapter: StoreAdapter, options: DestinationOptions, environment: Mapping[str, str]
) -> Sequence[Problem]:
    """Return what is wrong with the adapter's variables, or with what it makes of them.

    Raises:
        UnusableAdapter: the adapter itself fails at that.

    """
    try:
        problems = list(adapter.problems(environment))
        if not problems:
            _check_destination(adapter.connect(options, environment))
    except UnusableAdapter:
        raise
    except (Exception, SystemExit) as error:  # of a distribution that is not ours: anything
        raise UnusableAdapter(_told(error)) from error
    return problems


def _check_destination(destination: Destination) -> None:
    _check_members("its destination", destination, Destination)
    _check_members("its store", destination.store, StreamStore)
    _check_members("its reader", destination.reader, StreamReader)
    _check_members("its open_runs", destination.open_runs, OpenRuns)


def _load(name: str, points: Sequence[EntryPoint]) -> StoreAdapter:
    if len(points) > 1:
        distributions = sorted(point.dist.name for point in points if point.dist is not None)
        raise UnusableAdapter(f"more than one distribution has it: {', '.join(distributions)}")
    try:
        adapter: StoreAdapter = points[0].load()()
        _check_adapter(name, adapter)
    except UnusableAdapter:
        raise
    except (Exception, SystemExit) as error:  # of a distribution that is not ours: anything
        raise UnusableAdapter(_told(error)) from error
    return adapter


def _check_adapter(name: str, adapter: StoreAdapter) -> None:
    _check_members("it", adapter, StoreAdapter)
    if adapter.name != name:
        raise UnusableAdapter(f"it calls itself {adapter.name!r}")
    variables: Any = adapter.variables
    if isinstance(variables, str) or not all(isinstance(it, str) for it in variables):
        raise UnusableAdapter("its variables are no sequence of names")


def _check_members(what: str, thing: object, port: type) -> None:
    """Look for the members of a port that have no default; a stub of the port itself is none."""
    absent = object()
    values = [name for name in _VALUES if name in port.__annotations__]
    lacking = [name for name in values if not hasattr(thing, name)]
    for name, stub in vars(port).items():
        if name.startswith("_") or name in port.__annotations__:
            continue
        found = getattr_static(thing, name, absent)
        if (found is stub and name not in _DEFAULTS) or not hasattr(thing, name):
            lacking.append(name)
        elif not callable(getattr(thing, name)):
            lacking.append(f"{name} that can be called")
    if lacking:
        raise UnusableAdapter(f"{what} has no {', '.join(lacking)}")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
