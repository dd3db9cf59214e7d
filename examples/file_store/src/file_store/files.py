"""Files that are whole and on the disk when a function returns."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from application.store_kit import packing


def make(directory: Path, levels: int = 1) -> None:
    """Make a directory and those above it, but not what is above `levels`."""
    for it in reversed((directory, *directory.parents[: levels - 1])):
        if not it.exists():
            it.mkdir(exist_ok=True)
            _sync(it.parent)


def identity(directory: Path) -> tuple[int, str]:
    """Name a directory: an inode alone is used again, a mark alone is copied with the rest."""
    mark = directory / ".identity"
    with suppress(FileExistsError):
        mark.symlink_to(token_hex(8))
    return directory.stat().st_ino, str(mark.readlink())


@contextmanager
def locked(directory: Path, seconds: float = 0.0) -> Iterator[None]:
    """Lock a directory for all processes; BlockingIOError if others have it for so long."""
    descriptor, until = os.open(directory, os.O_RDONLY), time.monotonic() + seconds
    try:
        while not _is_locked(descriptor, tries_again=time.monotonic() < until):
            time.sleep(0.002)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, *, tries_again: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not tries_again:
            raise
        return False
    return True


def content(path: Path) -> bytes:
    """Return the bytes of a file; none if it is not there."""
    return path.read_bytes() if path.exists() else b""


def load(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if it is not there.

    Raises:
        Unreadable: it is damaged, which will not pass by itself.

    """
    return packing.unpack(path.read_bytes()) if path.exists() else {}


def save(path: Path, value: dict[str, Any]) -> None:
    """Replace a file by a JSON object, in one step."""
    new = path.with_name(f"{path.name}.new")
    write(new, 0, packing.pack(value))
    new.rename(path)
    _sync(path.parent)


def write(path: Path, size: int, behind: bytes) -> int:
    """Write bytes after the first `size` of a file, which is cut there; return its new size."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.truncate(size)
        file.write(behind)
        file.flush()
        os.fsync(file.fileno())
    return size + len(behind)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
