"""A destination in a process of its own: what is shared must be seen there, and memory is not.

The process is another Python with the same path. Calls and answers are pickles with their length in
front, over its standard input and output.
"""

import asyncio
import os
import pickle
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.open_runs import OpenRuns
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from application.ports.store import Append, Heads, Outcome, StreamStore
from domain.head import Head
from domain.identifiers import StreamKey

CLOSE_SECONDS = 5.0
"""How long the process may take to end by itself; then it is killed."""

_LENGTH = struct.Struct(">I")
_PROGRAM = "from application.testing.other_process import main; main()"


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
        other = cls(await start_python(_PROGRAM))
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
        """End the process at once, in the middle of what it does."""
        self._process.kill()
        await self._process.wait()
        await self._answers

    async def close(self) -> None:
        """End the process, at once if it is stuck."""
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


def main() -> None:
    """Serve calls until standard input ends."""
    asyncio.run(_serve(sys.stdin.buffer, answers_of_this_process()))


async def _serve(calls: BinaryIO, answers: BinaryIO) -> None:
    served: dict[str, Destination] = {}
    tasks: set[asyncio.Task[None]] = set()
    while (call := await asyncio.to_thread(read_call, calls)) is not None:
        number, name, arguments = call
        task = asyncio.create_task(_answer(served, answers, number, name, arguments))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    if served:
        await served["it"].close()


async def _answer(
    served: dict[str, Destination],
    answers: BinaryIO,
    number: int,
    name: str,
    arguments: Sequence[Any],
) -> None:
    answer: tuple[int, Any, Exception | None, str | None]
    try:
        answer = (number, await _called(served, name, arguments), None, None)
    except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets it
        cause = None if error.__cause__ is None else repr(error.__cause__)
        answer = (number, None, error, cause)
    answers.write(packed(answer))
    answers.flush()


async def _called(served: dict[str, Destination], name: str, arguments: Sequence[Any]) -> Any:
    if name == "connect":
        adapter, options, environment = arguments
        served["it"] = adapter.connect(options, environment)
        return None
    it = served["it"]
    if name == "read":
        return [entry async for entry in it.reader.read(*arguments)]
    if name == "epochs":
        return {stream: it.store.epoch_of(stream) for stream in arguments[0]}
    for port in (it.store, it.reader, it.open_runs, it):
        if hasattr(port, name):
            return await getattr(port, name)(*arguments)
    raise AttributeError(name)


async def start_python(program: str) -> Process:
    """Start another Python with the same path; it is spoken to over pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def answers_of_this_process() -> BinaryIO:
    """Take standard output for answers: nothing printed gets between them."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


async def read_answer(process: Process) -> Any:
    """Return the next that a process answers.

    Raises:
        asyncio.IncompleteReadError: it is gone.

    """
    if process.stdout is None:
        raise AssertionError("the process has no pipe")
    head = await process.stdout.readexactly(_LENGTH.size)
    body = await process.stdout.readexactly(_LENGTH.unpack(head)[0])
    return pickle.loads(body)  # noqa: S301  # of our own child


def read_call(calls: BinaryIO) -> Any:
    """Return the next that the parent asks, None in the end."""
    head = calls.read(_LENGTH.size)
    return pickle.loads(calls.read(_LENGTH.unpack(head)[0])) if head else None  # noqa: S301  # of our own parent


def packed(value: object) -> bytes:
    """Pack what is sent over a pipe."""
    try:
        body = pickle.dumps(value)
    except Exception as error:
        raise RuntimeError(f"a call or answer cannot be pickled: {value!r:.200}") from error
    return _LENGTH.pack(len(body)) + body
