"""The options of a reader."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a reader. Workers of one group need the same `prefix` and `lease_seconds`.

    An event is done when the next one is requested; without `autocommit`, when it is committed. A
    worker that owns `max_calls` looks for no more; since it finds several at once, it may own up to
    15 more. `on_lost` is called with a stream that another worker has taken over.
    """

    prefix: str = "rtaa"
    lease_seconds: float = 10.0
    autocommit: bool = True
    max_calls: int = 500
    on_lost: Callable[[str], object] = lambda _: None
