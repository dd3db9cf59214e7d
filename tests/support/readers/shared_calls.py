"""Calls that speak all the time, and the workers of a group that share them."""

import asyncio
import base64
from contextlib import suppress
from typing import Any

from example_reader import ExampleReader
from node_reader import Owned, committed, owners
from running import Caller, audio_message, pcm
from waiting import until
from websockets.exceptions import ConnectionClosed


def key_of(name: str) -> str:
    """Return the key of a stream of the tests' tenant."""
    return f"rtaa:audio:{{tenant-abc/{name}}}"


class PacedCall:
    """A call that speaks until it is told to end; it resumes when its connection is lost."""

    def __init__(self, url: str, name: str, number: int, interval: float) -> None:
        self.key = key_of(name)
        self.ledger: dict[str, Any] = {}
        self._url, self._name, self._number = url, name, number
        self._interval = interval
        self._caller: Caller | None = None
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._speak())
        self.frames = 0

    def frame(self, seq: int) -> bytes:
        return pcm(self._number * 7919 + seq)

    def cut(self) -> None:
        if self._caller is not None:
            self._caller.reset()

    async def end(self) -> None:
        self._over.set()
        await self._task

    async def _speak(self) -> None:
        seq = 0
        while True:
            self._caller = caller = await Caller.dial(self._url)
            with suppress(ConnectionClosed):
                started = await caller.start(self._name, resume=True)
                seq = 0 if started["last_seq"] is None else started["last_seq"] + 1
                while not self._over.is_set():
                    await caller.say(audio_message(seq, self.frame(seq)))
                    seq += 1
                    self.frames = max(self.frames, seq)
                    await asyncio.sleep(self._interval)
                self.ledger = await caller.end()
                return


class Sharing:
    """Calls, and the workers that share them."""

    def __init__(self) -> None:
        self.calls: list[PacedCall] = []
        self.workers: dict[str, ExampleReader] = {}

    def owned(self) -> dict[str, list[Owned]]:
        return owners(self.workers)

    def owner_of(self, call: PacedCall) -> str:
        return self.owned()[call.key][-1].worker

    async def until_all_progress(self, frames: int) -> None:
        """Wait until so many more frames of each call have come."""

        def counts() -> list[int]:
            owned = self.owned()
            return [
                sum(it["type"] == "audio" for turn in owned.get(call.key, []) for it in turn.events)
                for call in self.calls
            ]

        before = counts()
        await until(
            lambda: all(now >= then + frames for now, then in zip(counts(), before, strict=True))
        )

    def judge(self, call: PacedCall) -> None:
        """Each byte of the call once, in order, between one start and one end; no gap."""
        counted = committed(self.owned()[call.key])
        audio = [
            (it["seq"], base64.b64decode(it["data"])) for it in counted if it["type"] == "audio"
        ]
        assert audio == [(seq, call.frame(seq)) for seq in range(call.frames)], call.key
        assert len({it["run"] for it in counted}) == 1
        started = [it["data"]["resumed"] for it in counted if it["type"] == "started"]
        assert started[0] is False
        assert all(started[1:])
        types = [it["type"] for it in counted]
        assert (types.count("ended"), types.count("gap")) == (1, 0)
        assert counted[-1]["data"]["ledger"] == call.ledger
