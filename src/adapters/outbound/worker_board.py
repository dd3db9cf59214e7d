"""Memory that the workers of one service share: their places and their counts.

Each worker has a slot, and writes only there, so no worker waits for another:

    0    places that are taken, 8 bytes
    8    heartbeat, 8 bytes: other than before while the worker lives, 0 while the slot is free
    16   two copies for words, written in turn

    of a copy:
    0    which writing it is, 8 bytes
    8    length of the words, 4 bytes    12   CRC-32 of what is around it, 4 bytes
    16   the words

A worker takes a place by increasing its own count and then checking the sum: two workers that try
to take the last place at once may both fail, but never both succeed. Of two copies with valid
checksums the newer one counts: a worker that is killed during a write leaves the previous words.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from typing import BinaryIO
from zlib import crc32

from application.ports.places import Places
from application.ports.siblings import Siblings

SLOT_BYTES = 64 * 1024
LOOKS = 20
"""How often words are read again if they change during the read, before they are left out."""

_NUMBER = struct.Struct("=q")
_HEARTBEAT_AT = _NUMBER.size
_COPIES_AT = _HEARTBEAT_AT + _NUMBER.size
_COPY = struct.Struct("=qII")
_COPY_BYTES = (SLOT_BYTES - _COPIES_AT) // 2
MAX_SNAPSHOT_BYTES = _COPY_BYTES - _COPY.size


def _nameless_file() -> BinaryIO:
    """Open a file in memory; where there is none, or it is not allowed, a temporary one."""
    try:
        return os.fdopen(os.memfd_create("workers"), "w+b")
    except (AttributeError, OSError):
        return tempfile.TemporaryFile()


def _checksum(number: int, words: bytes) -> int:
    return crc32(words, crc32(_NUMBER.pack(number)))


class WorkerBoard:
    """The slots; made by the parent, inherited by the workers as the descriptor `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.slots = os.fstat(fd).st_size // SLOT_BYTES
        self._memory = mmap.mmap(fd, self.slots * SLOT_BYTES)

    @classmethod
    def make(cls, slots: int) -> "WorkerBoard":
        """Make a board of empty slots; it is gone with the last process that has it.

        Raises:
            OSError: there is no space for it.

        """
        with _nameless_file() as file:
            file.write(bytes(slots * SLOT_BYTES))  # a hole would be filled, or not, when it is used
            file.flush()
            return cls(os.dup(file.fileno()))

    def free(self, slot: int) -> None:
        """Free the places of a dead worker. Its words stay for its successor."""
        self._set(slot, 0, 0)
        self._set(slot, _HEARTBEAT_AT, 0)

    def taken(self, slot: int) -> int:
        """Return how many places a worker holds."""
        return self._get(slot, 0)

    def add(self, slot: int, places: int) -> None:
        """Note that a worker holds so many more."""
        self._set(slot, 0, self.taken(slot) + places)

    def heartbeat(self, slot: int) -> int:
        """Return the last heartbeat of a worker; 0 while the slot is free."""
        return self._get(slot, _HEARTBEAT_AT)

    def note_heartbeat(self, slot: int) -> None:
        """Note that a worker lives."""
        self._set(slot, _HEARTBEAT_AT, self.heartbeat(slot) + 1)

    def write(self, slot: int, words: bytes) -> None:
        """Replace the words of a slot.

        Raises:
            ValueError: they are too long.

        """
        if len(words) > MAX_SNAPSHOT_BYTES:
            raise ValueError(f"{len(words)} bytes do not fit on a slot")
        number = max(self._written(slot), default=(0, b""))[0] + 1
        at = self._copy(slot, number)
        start = at + _COPY.size
        self._memory[start : start + len(words)] = words
        _COPY.pack_into(self._memory, at, number, len(words), _checksum(number, words))

    def read(self, slot: int) -> bytes | None:
        """Return the words of a slot; None if there are none, or they keep changing."""
        for _ in range(LOOKS):
            written = self._written(slot)
            if written:
                return max(written)[1]
        return None

    def _written(self, slot: int) -> list[tuple[int, bytes]]:
        """Return what is whole in the copies, and which writing each is."""
        written = []
        for parity in range(2):
            at = self._copy(slot, parity)
            number, length, checksum = _COPY.unpack_from(self._memory, at)
            words = self._memory[at + _COPY.size : at + _COPY.size + length]
            if number and _checksum(number, words) == checksum:
                written.append((number, words))
        return written

    @staticmethod
    def _copy(slot: int, number: int) -> int:
        return slot * SLOT_BYTES + _COPIES_AT + number % 2 * _COPY_BYTES

    def _get(self, slot: int, at: int) -> int:
        number: int = _NUMBER.unpack_from(self._memory, slot * SLOT_BYTES + at)[0]
        return number

    def _set(self, slot: int, at: int, number: int) -> None:
        _NUMBER.pack_into(self._memory, slot * SLOT_BYTES + at, number)


class Slot(Places, Siblings):
    """One worker's slot; `places` are those of all workers together."""

    def __init__(self, board: WorkerBoard, number: int, places: int) -> None:
        self._board = board
        self._number = number
        self._places = places

    @property
    def number(self) -> int:
        """Which slot it is. See `Siblings.number`."""
        return self._number

    @property
    def places(self) -> int:
        """How many places all workers have. See `Places.places`."""
        return self._places

    @property
    def taken(self) -> int:
        """How many all workers have taken. See `Places.taken`."""
        return sum(map(self._board.taken, range(self._board.slots)))

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        return self.taken >= self._places

    def take(self) -> bool:
        """Take a place; False when none is left."""
        self._board.add(self._number, 1)
        if self.taken <= self._places:
            return True
        self._board.add(self._number, -1)
        return False

    def give_back(self) -> None:
        """Give back a place that was taken."""
        self._board.add(self._number, -1)

    def say(self, words: bytes) -> None:
        """Replace our own snapshot. See `Siblings.say`."""
        self._board.write(self._number, words)
        self._board.note_heartbeat(self._number)

    def own(self) -> bytes | None:
        """Return the snapshot of this slot. See `Siblings.own`."""
        return self._board.read(self._number)

    def others(self) -> Sequence[bytes]:
        """Return the snapshots of all other slots. See `Siblings.others`."""
        return self._read(is_alive=True)

    def gone(self) -> Sequence[bytes]:
        """Return the snapshots of free slots. See `Siblings.gone`."""
        return self._read(is_alive=False)

    def _read(self, *, is_alive: bool) -> Sequence[bytes]:
        board = self._board
        slots = [
            slot
            for slot in range(board.slots)
            if slot != self._number and bool(board.heartbeat(slot)) is is_alive
        ]
        return [words for words in map(board.read, slots) if words is not None]
