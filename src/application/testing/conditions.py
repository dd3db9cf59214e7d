"""What a test has happen to the place, and takes back however the test ends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from application.testing.trial import Trial
from domain.identifiers import StreamKey


@asynccontextmanager
async def unplugged(trial: Trial) -> AsyncIterator[None]:
    """Let the place be unreachable."""
    await trial.unplug()
    try:
        yield
    finally:
        await trial.plug()


@asynccontextmanager
async def refusing_writes(trial: Trial) -> AsyncIterator[None]:
    """Let the place take reads only."""
    await trial.refuse_writes()
    try:
        yield
    finally:
        await trial.plug()


@asynccontextmanager
async def locked(trial: Trial) -> AsyncIterator[None]:
    """Let another program have the place locked."""
    await trial.lock()
    try:
        yield
    finally:
        await trial.unlock()


@asynccontextmanager
async def held(trial: Trial, *streams: StreamKey) -> AsyncIterator[None]:
    """Let streams be stuck."""
    async with AsyncExitStack() as stack:
        for stream in streams:
            await trial.hold(stream)
            stack.push_async_callback(trial.release, stream)
        yield
