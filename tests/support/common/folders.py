"""Folders for tests that write a lot, and whose subject is not the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_IN_MEMORY = Path("/dev/shm")  # noqa: S108  # the folder in it is made by `tempfile`


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Give a folder where `fsync` waits for no disk; elsewhere if the system has none."""
    with TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)
