"""A destination in a separate process, which sees shared storage but not memory.

The process is another Python with the same path, which runs `child_process`. Calls and answers are
pickles, each preceded by its length, over its standard input and output.
"""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.open_runs import OpenRuns
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from application.ports.store import Append, Heads, Outcome, StreamStore
from application.testing import child_process
from application.testing.child_process import LENGTH, SERVE, packed
from domain.head import Head
from domain.identifiers import StreamKey

CLOSE_SECONDS = 5.0
"""How long the process may take to exit before it is killed."""


class OtherProcess(Destination, StreamStore, StreamReader, OpenRuns):
    """Calls the destination of another process."""

    def __init__(self, process: Process) -> None:
        self.store = self.reader = self.open_runs = self
        self._process = process
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._count = 0
        self._epochs: dict[StreamKey, int] = {}
        self._answers = asyncio.create_task(self._take_answers())

    @classmethod
    async def start(
        cls, adapter: StoreAdapter, options: DestinationOptions, environment: Mapping[str, str]
    ) -> "OtherProcess":
        """Start the process and connect there."""
        other = cls(await start_child(SERVE))
        await other._call("connect", adapter, options, dict(environment))
        return other

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """See `StreamStore.heads`."""
        heads: Heads = await self._call("heads", list(streams))
        self._epochs |= await self._call("epochs", list(streams))
        return heads

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """See `StreamStore.append`."""
        outcomes: Sequence[Outcome] = await self._call("append", list(appends))
        return outcomes

    def epoch_of(self, stream: StreamKey) -> int:
        """Return the epoch as of the last `heads`. See `StreamStore.epoch_of`."""
        return self._epochs.get(stream, 0)

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        """See `StreamReader.read`."""
        for entry in await self._call("read", stream, after):
            yield entry

    async def head(self, stream: StreamKey) -> Head | None:
        """See `StreamReader.head`."""
        head: Head | None = await self._call("head", stream)
        return head

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        """See `StreamReader.announcements`."""
        page: Sequence[Announcement] = await self._call("announcements", after)
        return page

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """See `OpenRuns.heartbeat`."""
        await self._call("heartbeat", list(streams))

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """See `OpenRuns.heartbeats`."""
        seen_heartbeats: Mapping[StreamKey, float] = await self._call("heartbeats")
        return seen_heartbeats

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """See `OpenRuns.forget`."""
        await self._call("forget", stream, heartbeat)

    async def verify_writable(self) -> None:
        """See `Destination.verify_writable`."""
        await self._call("verify_writable")

    async def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        await self._process.wait()
        await self._answers

    async def close(self) -> None:
        """End the process; kill it if it is stuck."""
        if self._process.stdin is None or self._process.stdin.is_closing():
            return
        self._process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                with suppress(BrokenPipeError, ConnectionResetError):
                    await self._process.stdin.wait_closed()
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._answers

    async def _call(self, name: str, *arguments: object) -> Any:
        if self._process.stdin is None or self._answers.done():
            raise RuntimeError("the other process is gone")
        self._count += 1
        number = self._count
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(packed((number, name, arguments)))
        try:
            value, error, cause = await future
        finally:
            del self._calls[number]
        if error is not None:
            raise error from (None if cause is None else RuntimeError(cause))
        return value

    async def _take_answers(self) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                number, *answer = await read_answer(self._process)
                future = self._calls.get(number)
                if future is not None and not future.done():
                    future.set_result(answer)
        for future in self._calls.values():
            if not future.done():
                future.set_exception(RuntimeError("the other process is gone"))


async def start_child(what: str) -> Process:
    """Start another Python with the same path; it is spoken to over pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", child_process.__file__, what, stdin=PIPE, stdout=PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


async def read_answer(process: Process) -> Any:
    """Return the next answer of a process.

    Raises:
        asyncio.IncompleteReadError: it is gone.

    """
    if process.stdout is None:
        raise AssertionError("the process has no pipe")
    head = await process.stdout.readexactly(LENGTH.size)
    body = await process.stdout.readexactly(LENGTH.unpack(head)[0])
    return pickle.loads(body)  # noqa: S301  # of our own child
