"""Entry points of other distributions: found by their group, loaded by their name."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from inspect import getattr_static
from typing import TypeVar

_T = TypeVar("_T")

_NAME = re.compile(r"^Name:[ \t]*(\S+)[ \t]*$", re.MULTILINE)

_log = logging.getLogger(__name__)


class UnusablePlugIn(Exception):
    """What an entry point refers to cannot be used; the message says why."""


def points_by_name(group: str, own: Mapping[str, str]) -> Mapping[str, Sequence[EntryPoint]]:
    """Return the entry points of a group, except for those with a built-in name.

    Those, and distributions whose metadata cannot be read, are logged and left out.
    """
    points: dict[str, list[EntryPoint]] = {}
    for point in _entry_points(group):
        if point.name in own:
            told_as = f"{point.name!r} of {', '.join(homes([point]))}"
            _log.warning("the entry point %s is ignored: it has a built-in's name", told_as)
        else:
            points.setdefault(point.name, []).append(point)
    return points


def load(points: Sequence[EntryPoint], check: Callable[[_T], None]) -> _T:
    """Return the object of the only entry point of a name, after `check`.

    Raises:
        UnusablePlugIn: there are several, it cannot be loaded or called, or `check` raises it.

    """
    if len(points) > 1:
        raise UnusablePlugIn(f"more than one distribution has it: {', '.join(homes(points))}")
    try:
        made: _T = points[0].load()()
        check(made)
    except UnusablePlugIn:
        raise
    except (Exception, SystemExit) as error:  # of a distribution that is not ours: anything
        raise UnusablePlugIn(told(error)) from error
    return made


def homes(points: Sequence[EntryPoint]) -> Sequence[str]:
    """Return the distributions that entry points come from."""
    return sorted(point.dist.name for point in points if point.dist is not None)


def check_members(what: str, thing: object, port: type, defaults: Sequence[str]) -> None:
    """Look for the members of a port; those named in `defaults` may be the port's own.

    A stub of the port itself does not count.

    Raises:
        UnusablePlugIn: some are absent, or cannot be called; the message begins with `what`.

    """
    absent = object()
    lacking = [
        name for name in port.__annotations__ if name not in defaults and not hasattr(thing, name)
    ]
    for name, stub in _stubs(port).items():
        found = getattr_static(thing, name, absent)
        if found is stub and name in defaults:
            continue
        if found is stub or not hasattr(thing, name):
            lacking.append(name)
        elif not isinstance(stub, property) and not callable(getattr(thing, name)):
            lacking.append(f"{name} that can be called")
    if lacking:
        raise UnusablePlugIn(f"{what} has no {', '.join(lacking)}")


def _stubs(port: type) -> Mapping[str, object]:
    """Return methods and properties of a port and of the ports that it extends."""
    return {
        name: stub
        for kind in reversed(port.__mro__)
        if getattr(kind, "_is_protocol", False)
        for name, stub in vars(kind).items()
        if not name.startswith("_") and name not in port.__annotations__
    }


def told(error: BaseException) -> str:
    """Return an error as one line names it."""
    return f"{type(error).__name__}: {error}"


def _entry_points(group: str) -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for distribution in distributions():
        try:
            name, points = _name(distribution), distribution.entry_points.select(group=group)
        except Exception as error:  # noqa: BLE001  # of a distribution that is not ours
            _log.warning("a distribution's metadata cannot be read", extra={"error": told(error)})
            continue
        if name not in seen:  # the first on the path is the one that is imported
            seen.add(name)
            yield from points


def _name(distribution: Distribution) -> str:
    """Return its name without parsing all metadata: of a hundred distributions that takes 0.1 s."""
    found = _NAME.search(distribution.read_text("METADATA") or "")
    return distribution.name if found is None else found[1]
