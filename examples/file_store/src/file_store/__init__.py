"""Streams as files, for all processes that see one directory.

A stream is a directory of two files: `entries` only grows, `head` is replaced by a rename and tells
how many bytes of the entries are valid. An append is stored at the moment of that rename.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from application.ports.open_runs import OpenRuns
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from application.ports.store import APPENDED, Append, Conflict, Heads, Outcome, StreamStore
from application.store_kit import codec, packing, storing
from application.store_kit.blocking import BlockingPlace
from domain.head import Head
from domain.identifiers import StreamKey
from file_store.files import content, identity, load, locked, make, save, write

PAGE = 500
LOCK_SECONDS = 1.0
"""How long a change of what all streams share waits for others."""


class FileStore(StreamStore, StreamReader, OpenRuns, Destination):
    """All ports over one directory, which must be there."""

    def __init__(self, root: Path, options: DestinationOptions) -> None:
        self.store = self.reader = self.open_runs = self
        self._home = root / options.prefix
        self._index, self._heartbeats = self._home / "index", self._home / "heartbeats"
        self._place = BlockingPlace(lambda: identity(root), (OSError,), (BlockingIOError,))
        self._run = self._place.run

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        await self._run(lambda: None)
        heads = await storing.separately(self.head, streams)
        return Heads(round(time.time() * 1_000), heads)

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        return await storing.separately(lambda it: self._run(self._append, it), appends)

    def epoch_of(self, stream: StreamKey) -> int:
        return self._place.epoch

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        for entry in await self._run(self._read, stream, after):
            yield entry

    async def head(self, stream: StreamKey) -> Head | None:
        return await self._run(self._head, stream)

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        return await self._run(self._page, 0 if after is None else int(after))

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        names = [str(stream) for stream in streams]
        await self._run(self._change_heartbeats, lambda it: it.update(dict.fromkeys(names, it[""])))

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        given = await self._run(load, self._heartbeats)
        return {codec.read_stream_key(name): it for name, it in given.items() if name}

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        name = str(stream)
        await self._run(
            self._change_heartbeats, lambda it: it.pop(name) if it.get(name) == heartbeat else None
        )

    async def verify_writable(self) -> None:
        await self.heartbeat([])

    def _path(self, stream: StreamKey) -> Path:
        return self._home / "streams" / stream.tenant_id / stream.stream_id

    def _head(self, stream: StreamKey) -> Head | None:
        path = self._path(stream)
        if load(path / "head").get("due"):
            with locked(path):
                self._announce(path)
        return head_of(load(path / "head"))

    def _append(self, append: Append) -> Outcome:
        path = self._path(append.stream)
        make(path, levels=4)
        with locked(path):
            state = self._announce(path)
            head = head_of(state)
            if append.expected != (None if head is None else head.revision):
                return Conflict(head)
            entries = packing.pack_all(map(codec.plain_published, storing.entries_of(append)))
            size = write(path / "entries", state.get("size", 0), entries)
            due = [codec.plain_announcement(it) for it in storing.announcements_of(append)]
            save(path / "head", {"head": codec.plain_head(append.head), "size": size, "due": due})
            self._announce(path)
        return APPENDED

    def _announce(self, path: Path) -> dict[str, Any]:
        """Announce what the last append stored; its stream is locked."""
        state = load(path / "head")
        if state.get("due"):
            with locked(self._home, LOCK_SECONDS):
                whole, last = content(self._index).rfind(b"\n") + 1, max(self._lines(), default=0)
                due = enumerate(state["due"], storing.number_above(last, time.time()))
                lines = (b"%d %s" % (number, packing.pack(it)) for number, it in due)
                write(self._index, whole, b"".join(lines))
            save(path / "head", state | {"due": []})
        return state

    def _read(self, stream: StreamKey, after: PublishedEntry | None) -> list[PublishedEntry]:
        state = load(self._path(stream) / "head")
        head, packed = head_of(state), content(self._path(stream) / "entries")
        entries = map(codec.read_published, packing.unpack_all(packed, state.get("size", 0)))
        return [it for it in entries if head and storing.is_kept(it, head, after)]

    def _page(self, after: int) -> list[Announcement]:
        behind = [(number, line) for number, line in self._lines().items() if number > after]
        return [codec.read_announcement(packing.unpack(it), str(n)) for n, it in behind[:PAGE]]

    def _lines(self) -> dict[int, bytes]:
        """Return the whole lines of the index by their numbers, which grow."""
        lines = content(self._index).splitlines(keepends=True)
        parted = (line.partition(b" ") for line in lines if line.endswith(b"\n"))
        return {int(number): line for number, _, line in parted}

    def _change_heartbeats(self, change: Callable[[dict[str, float]], object]) -> None:
        make(self._home)
        with locked(self._home, LOCK_SECONDS):
            given = load(self._heartbeats)
            given[""] = storing.number_above(given.get("", 0), time.time())  # the next heartbeat
            change(given)
            save(self._heartbeats, given)


def head_of(state: Mapping[str, Any]) -> Head | None:
    """Return the head in a state; None if the stream is unknown."""
    return codec.read_head(state.get("head", {})) if state else None


class FileStoreAdapter(StoreAdapter):
    """`PUBSUB_ADAPTER=file_store`; `FILE_STORE_PATH` is a directory."""

    name = "file_store"
    is_shared = True
    variables = ("FILE_STORE_PATH",)

    def connect(self, options: DestinationOptions, environment: Mapping[str, str]) -> FileStore:
        return FileStore(Path(environment["FILE_STORE_PATH"]), options)
