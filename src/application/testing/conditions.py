"""Conditions that a test sets on the storage, and that are undone however the test ends.

The trial records them, so that they can be undone from outside if a test hangs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from application.testing.trial import Trial
from domain.identifiers import StreamKey


@asynccontextmanager
async def unplugged(trial: Trial) -> AsyncIterator[None]:
    """Make the storage unreachable."""
    await trial.unplug()
    async with _taken_back(trial, trial.plug):
        yield


@asynccontextmanager
async def refusing_writes(trial: Trial) -> AsyncIterator[None]:
    """Make the storage read-only."""
    await trial.refuse_writes()
    async with _taken_back(trial, trial.plug):
        yield


@asynccontextmanager
async def locked(trial: Trial) -> AsyncIterator[None]:
    """Let another program lock the storage."""
    await trial.lock()
    async with _taken_back(trial, trial.unlock):
        yield


@asynccontextmanager
async def held(trial: Trial, *streams: StreamKey) -> AsyncIterator[None]:
    """Make streams hang."""
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
