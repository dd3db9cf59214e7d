"""How long a destination may take to answer, and when it is asked again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.backoff import Backoff
from application.ports.errors import BrokerUnavailable

ANSWER_SECONDS = 5.0
"""How long one call of a port may take before its outcome counts as unknown."""

FIRST_RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 0.2


def store_backoff() -> Backoff:
    """Return how long to wait before what a store has failed at is tried again."""
    return Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)


@asynccontextmanager
async def answered_within(seconds: float = ANSWER_SECONDS) -> AsyncIterator[None]:
    """Give up what is called inside after `seconds`.

    Raises:
        BrokerUnavailable: there was no answer; the effect of the call is not known.

    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as timeout:
        raise BrokerUnavailable(f"no answer within {seconds:g} s") from timeout
