"""The trial that a third party implements: storage for its adapter, and its failures."""

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
    """Storage that adapters connect to. Every trial has a unique prefix.

    `unplug` and `plug` must be implemented. A test that needs another method is skipped, with its
    name, if the trial does not have it. The fixture has to clean up.
    """

    adapter: StoreAdapter
    """The adapter under test. Another process recreates it from a pickle."""

    examples: ClassVar[int] = 50
    """How many examples each property is tried with."""

    outages: ClassVar[int] = 12
    """How often the storage is unreachable while two processes write; lower it if `plug` is
    slow."""

    kills: ClassVar[int] = 200
    """At how many lines of an append a process is killed; each line once if there are fewer."""

    limit_seconds: ClassVar[float] = 100.0
    """How long one test may take before it fails, with its name."""

    def __init__(self) -> None:
        self.options = DestinationOptions(prefix=f"kit-{next(_prefixes)}")
        self._connected: list[Destination] = []
        self.to_take_back: list[Callable[[], Awaitable[None]]] = []
        """The conditions that tests have set and not yet undone."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead to the storage."""
        return {}

    @abstractmethod
    async def unplug(self) -> None:
        """Make the storage unreachable for all processes; its data stays."""

    @abstractmethod
    async def plug(self) -> None:
        """Make it reachable again, and return when it takes writes. Also ends `refuse_writes`."""

    async def refuse_writes(self) -> None:
        """Refuse writes and allow reads, like a full disk; ideally in the middle of an append."""
        self.skip("refuse_writes")

    async def save(self) -> None:
        """Save all stored data, for `roll_back`."""
        self.skip("save")

    async def roll_back(self) -> None:
        """Restore the data of the last `save`, plugged."""
        self.skip("roll_back")

    async def wipe(self) -> None:
        """Delete all data, plugged."""
        self.skip("wipe")

    async def evict_entries(self, stream: StreamKey) -> None:
        """Delete the entries of a stream, but keep its head."""
        self.skip("evict_entries")

    async def evict_head(self, stream: StreamKey) -> None:
        """Delete the head of a stream, but keep its entries."""
        self.skip("evict_head")

    async def spoil_head(self, stream: StreamKey) -> None:
        """Make the head of a stream unreadable."""
        self.skip("spoil_head")

    async def count_entries(self, stream: StreamKey) -> int:
        """Return how many entries of a stream are stored, also those that readers do not see."""
        self.skip("count_entries")

    async def lock(self) -> None:
        """Let another program lock the storage: writes wait or fail until `unlock`."""
        self.skip("lock")

    async def unlock(self) -> None:
        """Release the lock."""
        self.skip("unlock")

    async def hold(self, stream: StreamKey) -> None:
        """Make a single stream hang: an append to it waits or fails until `release`."""
        self.skip("hold")

    async def release(self, stream: StreamKey) -> None:
        """Release the stream."""
        self.skip("release")

    def skip(self, what: str) -> NoReturn:
        """Skip the test, which needs a method that the trial does not have."""
        pytest.skip(f"{type(self).__name__} has no {what}()")

    def has(self, what: str) -> bool:
        """Return whether the trial has an optional method."""
        return getattr(type(self), what) is not getattr(Trial, what)

    def connect(self, prefix: str | None = None) -> Destination:
        """Open another connection from this process; `prefix` selects another installation."""
        options = self.options if prefix is None else replace(self.options, prefix=prefix)
        destination = self.adapter.connect(options, self.environment)
        self._connected.append(destination)
        return destination

    async def connect_elsewhere(self) -> Destination:
        """Connect from a separate process; from this one if the adapter is not shared."""
        if not self.adapter.is_shared:
            return self.connect()
        other = await OtherProcess.start(self.adapter, self.options, self.environment)
        self._connected.append(other)
        return other

    async def close(self) -> None:
        """Close all connections."""
        for destination in self._connected:
            await destination.close()
        self._connected.clear()
