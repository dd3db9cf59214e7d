"""Stores over files that break one promise each: what only shows where processes and locks are."""

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from application.store_kit.blocking import BlockingPlace
from application.ports.destination import DestinationOptions, StoreAdapter
from application.ports.errors import BrokerRefused, Unreadable
from application.ports.reader import PublishedEntry
from application.ports.store import Append, Failed, Heads, Outcome
from domain.head import Head
from domain.identifiers import StreamKey
from file_store import FileStore
from file_store.files import identity, load, save


class MutantFileStore(StoreAdapter):
    """Connects to a mutant over files."""

    name = "mutant"
    is_shared = True
    store: ClassVar[type[FileStore]] = FileStore

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> FileStore:
        return self.store(Path(environment["FILE_STORE_PATH"]), options)


class StreamsWaitForOneAnother(FileStore):
    def __init__(self, root: Path, options: DestinationOptions) -> None:
        super().__init__(root, options)
        self.lock = asyncio.Lock()

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        async with self.lock:
            return await super().append(appends)


class WritableWhereReadable(FileStore):
    async def verify_writable(self) -> None:
        await self.heads([])


class HeadInAStepOfItsOwn(FileStore):
    """Stores the entries first, then their head."""

    def _append(self, append: Append) -> Outcome:
        path = self._path(append.stream) / "head"
        before = load(path)
        outcome = super()._append(append)
        after = load(path)
        if before and before["head"] != after["head"]:
            save(path, after | {"head": before["head"]})
            save(path, after)
        return outcome


class AnnouncesWhatItHasNotNoted(FileStore):
    """Removes what is due before it announces it, not after."""

    def _announce(self, path: Path) -> dict[str, Any]:
        state = load(path / "head")
        if state.get("due"):
            save(path / "head", state | {"due": []})
            save(path / "head", state)
        return super()._announce(path)


class StreamsOfACallInTurn(FileStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        return [(await super(StreamsOfACallInTurn, self).append([it]))[0] for it in appends]


class RefusesWhatIsLocked(FileStore):
    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        outcomes = await super().append(appends)
        return [Failed(BrokerRefused("locked")) if type(it) is Failed else it for it in outcomes]


class UnreadableIsUnknown(FileStore):
    def _head(self, stream: StreamKey) -> Head | None:
        try:
            return super()._head(stream)
        except Unreadable:
            return None

    def _announce(self, path: Path) -> dict[str, Any]:
        try:
            return super()._announce(path)
        except Unreadable:
            return {}


class UnreadableIsNotKnownWithTheOthers(FileStore):
    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        return replace(await super().heads([]), heads=[await self.head(it) for it in streams])


class UnreadableIsReadAsEmpty(FileStore):
    def _read(self, stream: StreamKey, after: PublishedEntry | None) -> list[PublishedEntry]:
        with suppress(Unreadable):
            return super()._read(stream, after)
        return []


class HeartbeatOfALockedPlaceIsNotTranslated(FileStore):
    def _change_heartbeats(self, change: Callable[[dict[str, float]], object]) -> None:
        try:
            super()._change_heartbeats(change)
        except BlockingIOError as error:
            raise RuntimeError("locked") from error


class LockedIsALoss(FileStore):
    def __init__(self, root: Path, options: DestinationOptions) -> None:
        super().__init__(root, options)
        self._place = BlockingPlace(lambda: identity(root), (OSError,))
        self._run = self._place.run


class UnreadableIsALoss(FileStore):
    def __init__(self, root: Path, options: DestinationOptions) -> None:
        super().__init__(root, options)
        self._place = BlockingPlace(
            lambda: identity(root), (OSError, Unreadable), (BlockingIOError,)
        )
        self._run = self._place.run


class HeartbeatsCountedByProcess(FileStore):
    counted: ClassVar["count[int]"] = count(1)

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        heartbeat = next(self.counted)
        names = [str(stream) for stream in streams]
        await self._run(
            self._change_heartbeats, lambda it: it.update(dict.fromkeys(names, heartbeat))
        )


class BlocksTheLoopWhileAStreamIsStuck(FileStore):
    """Waits for a lock where it is called: the test cannot be cancelled, and must release it."""

    limit_seconds = 1.0

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        for path in (self._path(it.stream) for it in appends):
            if path.exists():
                _wait_for(path)
        return await super().append(appends)


class OneLockAndAStuckThread(FileStore):
    limit_seconds = 1.0
    lock = threading.Lock()

    def _append(self, append: Append) -> Outcome:
        path = self._path(append.stream)
        with self.lock:
            if path.exists():
                _wait_for(path)
            return super()._append(append)


def _wait_for(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)
