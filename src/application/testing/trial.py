"""What a third party fills in: a place to try its adapter on, and what can happen to that place."""

import asyncio
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, TypeVar

import pytest

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.testing.other_process import OtherProcess
from domain.identifiers import StreamKey

LIMIT_SECONDS = 100.0
"""How long one test may take."""

_T = TypeVar("_T")
_prefixes = count(1)


class Trial(ABC):
    """One place that adapters connect to. Every trial has a prefix of its own.

    `unplug` and `plug` must be filled in. A test that needs something else is skipped, with its
    name, where the trial does not have it. What is to be cleaned up is the fixture's affair.
    """

    adapter: StoreAdapter
    """What is tried. Another process makes it again from its pickle."""

    examples: ClassVar[int] = 50
    """How many examples each property is tried with."""

    outages: ClassVar[int] = 12
    """How often the place is away while two processes write; fewer where `plug` takes seconds."""

    def __init__(self) -> None:
        self.options = DestinationOptions(prefix=f"kit-{next(_prefixes)}")
        self._connected: list[Destination] = []

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead to the place."""
        return {}

    @abstractmethod
    async def unplug(self) -> None:
        """Make the place unreachable for all processes; what is stored stays."""

    @abstractmethod
    async def plug(self) -> None:
        """Make it reachable again; return when it takes writes. Also ends `refuse_writes`."""

    async def refuse_writes(self) -> None:
        """Refuse writes and take reads, as a full disk does: best in the middle of an append."""
        self.skip("refuse_writes")

    async def save(self) -> None:
        """Remember all that is stored, for `roll_back`."""
        self.skip("save")

    async def roll_back(self) -> None:
        """Let the place come back, plugged, with what it had at the last `save`."""
        self.skip("roll_back")

    async def wipe(self) -> None:
        """Let the place lose everything, plugged."""
        self.skip("wipe")

    async def evict_entries(self, stream: StreamKey) -> None:
        """Let it lose the entries of a stream and keep its head."""
        self.skip("evict_entries")

    async def evict_head(self, stream: StreamKey) -> None:
        """Let it lose the head of a stream and keep its entries."""
        self.skip("evict_head")

    async def hold(self, stream: StreamKey) -> None:
        """Let a stream be stuck: an append to it waits until `release`."""
        self.skip("hold")

    async def release(self, stream: StreamKey) -> None:
        """Let the stream go on."""
        self.skip("release")

    def skip(self, what: str) -> None:
        """Skip the test that asks for what the trial does not have."""
        pytest.skip(f"{type(self).__name__} has no {what}()")

    def has(self, what: str) -> bool:
        """Tell whether the trial has one of the optional abilities."""
        return getattr(type(self), what) is not getattr(Trial, what)

    def connect(self, prefix: str | None = None) -> Destination:
        """Connect to the place from this process, once more; with `prefix` another installation."""
        options = self.options if prefix is None else replace(self.options, prefix=prefix)
        destination = self.adapter.connect(options, self.environment)
        self._connected.append(destination)
        return destination

    async def connect_elsewhere(self) -> Destination:
        """Connect from a process of its own; from this one if the adapter is not shared."""
        if not self.adapter.is_shared:
            return self.connect()
        other = await OtherProcess.start(self.adapter, self.options, self.environment)
        self._connected.append(other)
        return other

    async def close(self) -> None:
        """Close all that was connected."""
        for destination in self._connected:
            await destination.close()
        self._connected.clear()


class Contract:
    """Base of the contracts: their tests are coroutines, run without any plug-in."""

    @pytest.fixture
    def trial(self) -> Trial | Iterator[Trial]:
        """Return the place to try the adapter on. To be filled in."""
        raise NotImplementedError("a contract needs a fixture `trial`")

    def __init_subclass__(cls, **more: Any) -> None:
        """Make a plain function of each test that is a coroutine."""
        super().__init_subclass__(**more)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                setattr(cls, name, _as_plain_function(test))


@contextmanager
def running(trial: Trial) -> Iterator[Callable[[Coroutine[Any, Any, _T]], _T]]:
    """Give what runs coroutines, one after the other in one loop; close the trial in the end."""
    with asyncio.Runner() as runner:
        try:
            yield lambda coroutine: runner.run(_limited(coroutine))
        finally:
            runner.run(_limited(trial.close()))


async def _limited(coroutine: Coroutine[Any, Any, _T]) -> _T:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await coroutine


def _as_plain_function(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(self: Contract, trial: Trial, **fixtures: Any) -> None:
        with running(trial) as run_in_loop:
            run_in_loop(test(self, trial, **fixtures))

    return run
