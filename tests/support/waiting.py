"""Waiting for a condition: never for luck, and never for ever."""

import asyncio
import time
from collections.abc import Callable

from published import Broker, facts

LIMIT_SECONDS = 30.0


def wait_until(condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for a condition, which is checked often; fail when it does not come true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.01)


async def until(condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for a condition that may block, beside the loop."""
    await asyncio.to_thread(wait_until, condition, seconds)


async def until_state(
    broker: Broker, name: str, state: str, seconds: float = LIMIT_SECONDS
) -> None:
    """Wait until the facts of a run say so."""
    await until(lambda: facts(broker, name).get("state") == state, seconds)
