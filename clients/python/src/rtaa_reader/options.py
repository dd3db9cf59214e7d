"""How a reader reads."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Of a reader. Workers of one group need the same `prefix` and `lease_seconds`.

    An event is done when the next one is asked for; without `autocommit`, when it is committed. A
    worker that owns `max_calls` looks for no more; it finds several at once, so it may own 15 more.
    `on_lost` is told a stream that another worker has taken over.
    """

    prefix: str = "rtaa"
    lease_seconds: float = 10.0
    autocommit: bool = True
    max_calls: int = 500
    on_lost: Callable[[str], object] = lambda _: None
