"""Memory that the workers of one service share: who holds how many places, and their counts.

Each worker has a seat, and writes nowhere else, so nobody waits for anybody:

    0   places that are taken, 8 bytes
    8   length of the words, 4 bytes    12   their CRC-32, 4 bytes
    16  the words

A place is taken by adding to one's own and then looking at the sum: two who take the last one at
once may both find none, but never both have it. Words that are read while they are being written
are known by their checksum, and read once more.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from zlib import crc32

from application.ports.places import Places
from application.ports.siblings import Siblings

SEAT_BYTES = 64 * 1024
LOOKS = 20
"""How often words are read that change under the reader's eyes; then they are left out."""

_TAKEN = struct.Struct("=q")
_WORDS = struct.Struct("=II")
_WORDS_AT = _TAKEN.size + _WORDS.size


class WorkerBoard:
    """The seats; made by the parent, inherited by the workers as the descriptor `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seats = os.fstat(fd).st_size // SEAT_BYTES
        self._memory = mmap.mmap(fd, self.seats * SEAT_BYTES)

    @classmethod
    def make(cls, seats: int) -> "WorkerBoard":
        """Make a board of empty seats; it is gone with the last process that has it."""
        with tempfile.TemporaryFile() as file:
            file.truncate(seats * SEAT_BYTES)
            return cls(os.dup(file.fileno()))

    def free(self, seat: int) -> None:
        """Free the places of a worker that is gone. Its words stay, for who takes the seat."""
        _TAKEN.pack_into(self._memory, seat * SEAT_BYTES, 0)

    def taken(self, seat: int) -> int:
        """Return how many places a worker holds."""
        taken: int = _TAKEN.unpack_from(self._memory, seat * SEAT_BYTES)[0]
        return taken

    def add(self, seat: int, places: int) -> None:
        """Note that a worker holds so many more."""
        _TAKEN.pack_into(self._memory, seat * SEAT_BYTES, self.taken(seat) + places)

    def write(self, seat: int, words: bytes) -> None:
        """Replace the words of a seat.

        Raises:
            ValueError: they are too long.

        """
        if len(words) > SEAT_BYTES - _WORDS_AT:
            raise ValueError(f"{len(words)} bytes do not fit on a seat")
        at = seat * SEAT_BYTES
        self._memory[at + _WORDS_AT : at + _WORDS_AT + len(words)] = words
        _WORDS.pack_into(self._memory, at + _TAKEN.size, len(words), crc32(words))

    def read(self, seat: int) -> bytes | None:
        """Return the words of a seat; None if there are none, or they do not hold still."""
        at = seat * SEAT_BYTES
        for _ in range(LOOKS):
            length, checksum = _WORDS.unpack_from(self._memory, at + _TAKEN.size)
            words = self._memory[at + _WORDS_AT : at + _WORDS_AT + length]
            if crc32(words) == checksum:
                return words or None
        return None


class Seat(Places, Siblings):
    """One worker's seat; `places` are those of all workers together."""

    def __init__(self, board: WorkerBoard, number: int, places: int) -> None:
        self._board = board
        self._number = number
        self._places = places

    @property
    def _taken(self) -> int:
        return sum(map(self._board.taken, range(self._board.seats)))

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        return self._taken >= self._places

    def take(self) -> bool:
        """Take a place; False when none is left."""
        self._board.add(self._number, 1)
        if self._taken <= self._places:
            return True
        self._board.add(self._number, -1)
        return False

    def give_back(self) -> None:
        """Give back a place that was taken."""
        self._board.add(self._number, -1)

    def say(self, words: bytes) -> None:
        """Replace our own last words. See `Siblings.say`."""
        self._board.write(self._number, words)

    def own(self) -> bytes | None:
        """Return the last words said on this seat. See `Siblings.own`."""
        return self._board.read(self._number)

    def others(self) -> Sequence[bytes]:
        """Return the last words of every other seat. See `Siblings.others`."""
        others = (self._board.read(seat) for seat in range(self._board.seats))
        return [
            words for seat, words in enumerate(others) if words is not None and seat != self._number
        ]
