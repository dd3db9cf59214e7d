"""The contracts of rtaa-ingest, held against files."""

import fcntl
import os
import resource
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from application.ports.store import Appended, Failed
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial
from application.testing.appends import begin, following, frame, frames, stream
from domain.identifiers import StreamKey
from file_store import FileStoreAdapter


class FileTrial(Trial):
    """A directory that is moved away, or exchanged for an older one."""

    adapter = FileStoreAdapter()
    examples = 20  # each is a few hundred files

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.root, self.away, self.saved = path / "root", path / "away", path / "saved"
        self.root.mkdir()
        self.size_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.held: dict[str, int] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        return {"FILE_STORE_PATH": str(self.root)}

    async def unplug(self) -> None:
        self.root.rename(self.away)

    def take_writes(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.size_limit)

    async def plug(self) -> None:
        self.take_writes()
        if self.away.exists():
            self.away.rename(self.root)

    async def refuse_writes(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self.size_limit[1]))

    async def save(self) -> None:
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.root, self.saved, symlinks=True)

    async def roll_back(self) -> None:
        self.root.rename(self.away)
        shutil.copytree(self.saved, self.root, symlinks=True)
        shutil.rmtree(self.away)

    async def wipe(self) -> None:
        self.root.rename(self.away)
        self.root.mkdir()
        shutil.rmtree(self.away)

    async def spoil_head(self, stream: StreamKey) -> None:
        (self.path_of(stream) / "head").write_bytes(b"{")

    async def lock(self) -> None:
        self.held["all"] = flocked(self.root / self.options.prefix)

    async def unlock(self) -> None:
        os.close(self.held.pop("all"))

    async def hold(self, stream: StreamKey) -> None:
        self.held[str(stream)] = flocked(self.path_of(stream))

    async def release(self, stream: StreamKey) -> None:
        os.close(self.held.pop(str(stream)))

    def path_of(self, stream: StreamKey) -> Path:
        return self.root / self.options.prefix / "streams" / stream.tenant_id / stream.stream_id


def flocked(path: Path) -> int:
    """Lock a directory until the descriptor is closed."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


class TestFileStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self, tmp_path: Path) -> Iterator[Trial]:
        trial = FileTrial(tmp_path)
        yield trial
        trial.take_writes()

    async def test_an_append_is_on_the_disk_before_its_head_is_in_place(
        self, trial: Trial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        destination, done = trial.connect(), list[str]()
        key = stream("call")
        await destination.store.append([first := begin(key, None)])
        fsync, rename = os.fsync, Path.rename

        def noted_fsync(descriptor: int) -> None:
            done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            fsync(descriptor)

        def noted_rename(path: Path, target: Path) -> Path:
            done.append(f"rename {path.name}")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        await destination.store.append([following(first.head, frame(key, 0))])
        assert done == [
            "fsync entries",
            "fsync head.new",
            "rename head.new",
            f"fsync {key.stream_id}",
        ]

    async def test_a_file_that_was_cut_off_in_the_middle_of_an_append_is_mended_by_the_next(
        self, trial: Trial
    ) -> None:
        destination, key = trial.connect(), stream("call")
        await destination.store.append([first := begin(key, None)])
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )
        second = following(first.head, *frames(key, 0, 100))
        (outcome,) = await destination.store.append([second])
        assert isinstance(outcome, Failed)
        await trial.plug()
        assert [it.position async for it in destination.reader.read(key)] == [0]
        assert list(await destination.store.append([second])) == [Appended()]
        assert [it.position async for it in destination.reader.read(key)] == list(range(101))
