"""What a test has happen to the place, and takes back however the test ends.

It is noted in the trial meanwhile: a test that cannot be ended has it taken back from outside.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from application.testing.trial import Trial
from domain.identifiers import StreamKey


@asynccontextmanager
async def unplugged(trial: Trial) -> AsyncIterator[None]:
    """Let the place be unreachable."""
    await trial.unplug()
    async with _taken_back(trial, trial.plug):
        yield


@asynccontextmanager
async def refusing_writes(trial: Trial) -> AsyncIterator[None]:
    """Let the place take reads only."""
    await trial.refuse_writes()
    async with _taken_back(trial, trial.plug):
        yield


@asynccontextmanager
async def locked(trial: Trial) -> AsyncIterator[None]:
    """Let another program have the place locked."""
    await trial.lock()
    async with _taken_back(trial, trial.unlock):
        yield


@asynccontextmanager
async def held(trial: Trial, *streams: StreamKey) -> AsyncIterator[None]:
    """Let streams be stuck."""
    async with AsyncExitStack() as stack:
        for stream in streams:
            await trial.hold(stream)
            await stack.enter_async_context(_taken_back(trial, partial(trial.release, stream)))
        yield


@asynccontextmanager
async def _taken_back(
    trial: Trial, take_back: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    trial.to_take_back.append(take_back)
    try:
        yield
    finally:
        if take_back in trial.to_take_back:
            trial.to_take_back.remove(take_back)
            await take_back()
