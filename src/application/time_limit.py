"""Time limits of calls to a destination, and the wait before a retry."""

import asyncio
from types import TracebackType

from application.backoff import Backoff
from application.ports.errors import BrokerUnavailable

ANSWER_SECONDS = 5.0
"""How long one call of a port may take before its outcome counts as unknown."""

FIRST_RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 0.2


def store_backoff() -> Backoff:
    """Return how long to wait before a failed request is retried."""
    return Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)


class _AnsweredWithin:
    """A time limit for a block of code; a class, since a generator costs twice as much."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(exc_type, exc_val, exc_tb)
        except TimeoutError as timeout:
            raise self._error() from timeout
        if isinstance(exc_val, TimeoutError):  # what was called has a limit of its own
            raise self._error() from exc_val

    def _error(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"no answer within {self._seconds:g} s")


def answered_within(seconds: float = ANSWER_SECONDS) -> _AnsweredWithin:
    """Limit the body of an `async with` to `seconds`.

    Raises:
        BrokerUnavailable: there was no answer; the effect of the call is not known.

    """
    return _AnsweredWithin(seconds)
