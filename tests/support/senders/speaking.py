"""A call that speaks all the time, until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from running import Caller

INTERVAL_SECONDS = 0.01


@asynccontextmanager
async def speaking(caller: Caller) -> AsyncIterator[list[int]]:
    """Send frames all the time; their seqs are in the list, complete at the end."""
    sent: list[int] = []

    async def speak() -> None:
        while True:
            await caller.speak(len(sent))
            sent.append(len(sent))
            await asyncio.sleep(INTERVAL_SECONDS)

    task = asyncio.create_task(speak())
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
