"""The contracts of the ports, held against the store in memory."""

from copy import deepcopy

import pytest

from adapters.outbound.in_memory import Contents, InMemory
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial
from domain.identifiers import StreamKey


class InMemoryTrial(Trial):
    def __init__(self) -> None:
        super().__init__()
        self.adapter = InMemory()
        self.memory = self.adapter.memories[self.options.prefix]
        self.saved = Contents()

    async def unplug(self) -> None:
        self.memory.is_plugged = False

    async def plug(self) -> None:
        self.memory.plug()

    async def save(self) -> None:
        self.saved = deepcopy(self.memory.contents)

    async def roll_back(self) -> None:
        self.memory.plug(self.saved)

    async def wipe(self) -> None:
        self.memory.plug(Contents())

    async def count_entries(self, stream: StreamKey) -> int:
        return len(self.memory.contents.streams[stream].entries or ())

    async def evict_entries(self, stream: StreamKey) -> None:
        self.memory.contents.streams[stream].entries = None

    async def evict_head(self, stream: StreamKey) -> None:
        self.memory.contents.streams[stream].head = None


class TestInMemoryStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self) -> Trial:
        return InMemoryTrial()
