"""The dialects that the service understands: our own, and those of installed distributions.

A separate distribution registers in the entry-point group `rtaa_ingest.dialects`. Installing it
enables it. If a dialect cannot be used, the service does not start, since its calls would be lost.
"""

import re
from collections.abc import Sequence
from functools import partial

from adapters.inbound.dialects import DIALECTS, ENTRY_POINT_GROUP, OWN, Dialect
from adapters.inbound.dialects.description import DialectMessages
from entrypoints.plug_ins import UnusablePlugIn, check_members, load, points_by_name

_DEFAULTS = (
    "subprotocols", "description", "messages", "replies", "waits_for_broker",
    "started", "ack", "error", "ended",
)  # fmt: skip
"""Members of `Dialect` that have a default."""


_NAME = re.compile(r"[a-z0-9._-]+\Z")


class UnusableDialect(Exception):
    """Installed dialects cannot be used; the message says which, and why."""


def installed_dialects() -> Sequence[Dialect]:
    """Return the built-in dialects, then the others by name; built-in names are reserved.

    Raises:
        UnusableDialect: some cannot be loaded, or are none.

    """
    found, failures = list(DIALECTS), []
    for name, points in sorted(points_by_name(ENTRY_POINT_GROUP, OWN).items()):
        try:
            found.append(load(points, partial(_check, name)))
        except UnusablePlugIn as error:
            failures.append(f"the dialect {name!r} is installed and cannot be used: {error}")
    if failures:
        raise UnusableDialect("\n".join(failures))
    return found


def _check(name: str, dialect: Dialect) -> None:
    check_members("it", dialect, Dialect, _DEFAULTS)
    if dialect.name != name:
        raise UnusablePlugIn(f"it calls itself {dialect.name!r}")
    if not _NAME.match(name):
        raise UnusablePlugIn("its name has other characters than a-z 0-9 . _ -")
    DialectMessages(dialect)  # which raises where a type has no schema
