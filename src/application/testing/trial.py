"""What a third party fills in: a place to try its adapter on, and what can happen to that place."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import ClassVar, NoReturn

import pytest

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.testing.other_process import OtherProcess
from domain.identifiers import StreamKey

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

    kills: ClassVar[int] = 200
    """At how many lines of an append a process is killed; each line once if there are fewer."""

    limit_seconds: ClassVar[float] = 100.0
    """How long one test may take: behind it the test fails, with its name."""

    def __init__(self) -> None:
        self.options = DestinationOptions(prefix=f"kit-{next(_prefixes)}")
        self._connected: list[Destination] = []
        self.to_take_back: list[Callable[[], Awaitable[None]]] = []
        """What tests have done to the place and not taken back yet."""

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

    async def spoil_head(self, stream: StreamKey) -> None:
        """Let the head of a stream be there and unreadable."""
        self.skip("spoil_head")

    async def count_entries(self, stream: StreamKey) -> int:
        """Return how many entries of a stream take room, also those that no reader is shown."""
        self.skip("count_entries")

    async def lock(self) -> None:
        """Let another program lock the place: writes wait or fail until `unlock`."""
        self.skip("lock")

    async def unlock(self) -> None:
        """Let the place be free again."""
        self.skip("unlock")

    async def hold(self, stream: StreamKey) -> None:
        """Let a stream be stuck by itself: an append to it waits or fails until `release`."""
        self.skip("hold")

    async def release(self, stream: StreamKey) -> None:
        """Let the stream continue."""
        self.skip("release")

    def skip(self, what: str) -> NoReturn:
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
