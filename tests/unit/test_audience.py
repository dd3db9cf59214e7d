"""Who looks at the live page: a viewer that cannot be served takes no place."""

import pytest

from adapters.outbound.in_memory import InMemory
from adapters.outbound.system_clock import SystemClock
from application.overview.audience import MAX_VIEWERS, Audience
from application.ports.destination import Destination, DestinationOptions


async def test_a_viewer_that_met_no_connection_takes_no_place() -> None:
    failures = [OSError("too many open files")] * MAX_VIEWERS

    def connect() -> Destination:
        if failures:
            raise failures.pop()
        return InMemory().connect(DestinationOptions(), {})

    audience = Audience(connect, SystemClock(), 100)
    for number in range(MAX_VIEWERS):
        with pytest.raises(OSError, match="too many"):
            audience.join(number)
    assert audience.viewers == 0
    audience.join("later")
    assert audience.look("later") is not None
    await audience.close()
