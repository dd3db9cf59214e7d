"""How much a destination is expected to hold at most, and its advice on that."""

import asyncio
from collections.abc import Sequence

from application.ports.destination import Destination

BYTES_PER_SECOND = 16_000
"""Audio of one call: PCM16 at 8 kHz, which carriers send unless asked for more."""

_MIB = 1024 * 1024

ADVICE_SECONDS = 30.0
"""How long a destination may take to answer, several addresses that are tried included."""


def expected_bytes(max_streams: int, retention_seconds: float, expire_seconds: float) -> int:
    """Return the most audio that a destination holds at a time, in whole MiB, rounded up.

        max_streams x 16,000 bytes/s x (retention_seconds + expire_seconds)

    The first part is the live calls. The second is the ended ones: whatever a place for a call
    brought in within `expire_seconds` is still there, whether it was one call or many.
    """
    audio = max_streams * BYTES_PER_SECOND * (retention_seconds + expire_seconds)
    return -int(-audio // _MIB) * _MIB


async def ask_advice(destination: Destination, expected: int) -> Sequence[str]:
    """Return what the destination's operator should know, `expected` bytes being held.

    Raises:
        PublisherError: the destination could not be asked.
        TimeoutError: it did not answer within `ADVICE_SECONDS`.

    """
    async with asyncio.timeout(ADVICE_SECONDS):
        return await destination.advise(expected)
