"""Calls in real time beside whatever a test does, to which nothing may happen."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, ClassVar, Self

from agentstream_sender import AgentstreamSender
from published import Broker, audio, entries
from running import LIMIT_SECONDS, Caller, pcm
from websockets.exceptions import ConnectionClosed

FRAME_SECONDS = 0.02


class SteadyCall(ABC):
    """Speaks a frame every 20 ms, as long as it is told to `speak`."""

    first_seq: ClassVar[int]

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames = 0

    @classmethod
    @abstractmethod
    async def dial(cls, url: str, name: str) -> Self:
        """Start a call."""

    @abstractmethod
    async def say_frame(self, seq: int) -> None:
        """Say the next frame."""

    @abstractmethod
    async def finish(self) -> None:
        """End the call, and assert that the service has sent nothing it should not."""

    async def speak(self) -> None:
        """Speak until cancelled."""
        while True:
            await self.say_frame(self.first_seq + self.frames)
            self.frames += 1
            await asyncio.sleep(FRAME_SECONDS)

    def assert_whole(self, broker: Broker) -> None:
        """One run in one generation, every frame once and in order, one end, a ledger that fits."""
        found = entries(broker, self.name)
        kinds = [entry["type"] for _, entry in found]
        assert kinds == ["started", *["audio"] * self.frames, "ended"]
        assert [entry_id for entry_id, _ in found] == [f"1-{n}" for n in range(len(found))]
        seqs = range(self.first_seq, self.first_seq + self.frames)
        assert audio(broker, self.name) == [(seq, pcm(seq)) for seq in seqs]
        ledger = found[-1][1]["data"]["ledger"]
        assert (ledger["received"], ledger["published"]) == (self.frames, self.frames)
        assert (ledger["missing"], ledger["lost"], ledger["duplicate"]) == (0, 0, 0)


class ExostreamkitCall(SteadyCall):
    """Hears all replies while it speaks, as a sender should."""

    first_seq = 0

    def __init__(self, name: str, caller: Caller) -> None:
        super().__init__(name)
        self.replies: list[dict[str, Any]] = []
        self.slowest_ack = 0.0
        self._sent_at: list[float] = []
        self._socket = caller.socket
        self._caller = caller
        self._hearing = asyncio.create_task(self._hear())

    @classmethod
    async def dial(cls, url: str, name: str) -> Self:
        caller = await Caller.dial(url)
        await caller.start(name)
        return cls(name, caller)

    @property
    def acked(self) -> int:
        """The highest seq that is acknowledged; -1 for none."""
        return max((r["seq"] for r in self.replies if r["event"] == "ack"), default=-1)

    async def hear_ack(self, seq: int) -> None:
        """Wait until everything up to `seq` is acknowledged."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.acked < seq:
                assert not self._hearing.done(), "closed before it was acknowledged"
                await asyncio.sleep(FRAME_SECONDS)

    async def say_frame(self, seq: int) -> None:
        self._sent_at.append(monotonic())
        await self._caller.speak(seq)

    async def finish(self) -> None:
        await self._caller.say({"event": "end"})
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._hearing
        assert self._socket.close_code == 1000
        assert {reply["event"] for reply in self.replies} <= {"ack", "ended"}
        assert self.replies[-1]["event"] == "ended"
        assert self.replies[-1]["ledger"]["published"] == self.frames

    async def _hear(self) -> None:
        try:
            while True:
                reply = json.loads(await self._socket.recv())
                self.replies.append(reply)
                if reply["event"] == "ack":
                    waited = monotonic() - self._sent_at[reply["seq"]]
                    self.slowest_ack = max(self.slowest_ack, waited)
        except ConnectionClosed:
            pass


class AgentstreamCall(SteadyCall):
    """Is to be told nothing."""

    first_seq = 1

    def __init__(self, name: str, sender: AgentstreamSender) -> None:
        super().__init__(name)
        self._sender = sender

    @classmethod
    async def dial(cls, url: str, name: str) -> Self:
        sender = await AgentstreamSender.dial(url)
        await sender.begin(name)
        return cls(name, sender)

    async def say_frame(self, seq: int) -> None:
        await self._sender.send_chunks(self.name, seq)

    async def finish(self) -> None:
        assert await self._sender.stop(self.name) == 1000
        assert self._sender.told == []


@asynccontextmanager
async def steady_calls(
    url: str, name: str
) -> AsyncIterator[tuple[ExostreamkitCall, AgentstreamCall]]:
    """Let a call of each dialect speak for as long as the context lasts, and end them.

    What is left is for the test: `assert_whole` at the broker.
    """
    calls = (
        await ExostreamkitCall.dial(url, f"{name}-exostreamkit"),
        await AgentstreamCall.dial(url, f"{name}-agentstream"),
    )
    speaking = [asyncio.create_task(call.speak()) for call in calls]
    try:
        yield calls
        assert not any(task.done() for task in speaking), speaking
    finally:
        for task in speaking:
            task.cancel()
        await asyncio.gather(*speaking, return_exceptions=True)
    for call in calls:
        await call.finish()
