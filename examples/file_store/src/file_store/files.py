"""Files that are whole and on the disk when a function returns."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from application.codec import Unreadable


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
    until, descriptor = time.monotonic() + seconds, os.open(directory, os.O_RDONLY)
    try:
        while not _lock(descriptor, fails=time.monotonic() >= until):
            time.sleep(0.002)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, fails: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if fails:
            raise
        return False
    return True


def content(path: Path) -> bytes:
    """Return the bytes of a file; none if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def load(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if it is not there.

    Raises:
        Unreadable: it is damaged, which will not pass by itself.

    """
    try:
        found: dict[str, Any] = json.loads(content(path) or b"{}")
    except ValueError as error:
        raise Unreadable(f"{path} is damaged") from error
    return found


def save(path: Path, value: dict[str, Any]) -> None:
    """Replace a file by a JSON object, in one step."""
    new = path.with_name(f"{path.name}.new")
    write(new, 0, json.dumps(value).encode())
    new.rename(path)
    _sync(path.parent)


def write(path: Path, size: int, behind: bytes) -> int:
    """Write bytes behind the first `size` of a file, which is cut there; return its new size."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(behind)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
