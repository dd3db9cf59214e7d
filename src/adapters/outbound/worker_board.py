"""Memory that the workers of one service share: who holds how many places, and their counts.

Each worker has a seat, and writes nowhere else, so nobody waits for anybody:

    0    places that are taken, 8 bytes
    8    beat, 8 bytes: other than before while the worker lives, 0 while nobody is on the seat
    16   two slots for words, written in turn

    of a slot:
    0    which writing it is, 8 bytes
    8    length of the words, 4 bytes    12   CRC-32 of what stands around it, 4 bytes
    16   the words

A place is taken by adding to one's own and then looking at the sum: two who take the last one at
once may both find none, but never both have it. The newer of two slots whose checksums are right
counts: a worker that is killed while it writes leaves the words before.
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

_NUMBER = struct.Struct("=q")
_BEAT_AT = _NUMBER.size
_SLOTS_AT = _BEAT_AT + _NUMBER.size
_SLOT = struct.Struct("=qII")
_SLOT_BYTES = (SEAT_BYTES - _SLOTS_AT) // 2
MOST_WORDS_BYTES = _SLOT_BYTES - _SLOT.size


def _checksum(number: int, words: bytes) -> int:
    return crc32(words, crc32(_NUMBER.pack(number)))


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
        self._set(seat, 0, 0)
        self._set(seat, _BEAT_AT, 0)

    def taken(self, seat: int) -> int:
        """Return how many places a worker holds."""
        return self._get(seat, 0)

    def add(self, seat: int, places: int) -> None:
        """Note that a worker holds so many more."""
        self._set(seat, 0, self.taken(seat) + places)

    def beat(self, seat: int) -> int:
        """Return the last beat of a worker; 0 while nobody is on the seat."""
        return self._get(seat, _BEAT_AT)

    def give_beat(self, seat: int) -> None:
        """Note that a worker lives."""
        self._set(seat, _BEAT_AT, self.beat(seat) + 1)

    def write(self, seat: int, words: bytes) -> None:
        """Replace the words of a seat.

        Raises:
            ValueError: they are too long.

        """
        if len(words) > MOST_WORDS_BYTES:
            raise ValueError(f"{len(words)} bytes do not fit on a seat")
        number = max(self._written(seat), default=(0, b""))[0] + 1
        at = self._slot(seat, number)
        start = at + _SLOT.size
        self._memory[start : start + len(words)] = words
        _SLOT.pack_into(self._memory, at, number, len(words), _checksum(number, words))

    def read(self, seat: int) -> bytes | None:
        """Return the words of a seat; None if there are none, or they do not hold still."""
        for _ in range(LOOKS):
            written = self._written(seat)
            if written:
                return max(written)[1]
        return None

    def _written(self, seat: int) -> list[tuple[int, bytes]]:
        """Return what stands whole in the slots, and which writing each is."""
        written = []
        for parity in range(2):
            at = self._slot(seat, parity)
            number, length, checksum = _SLOT.unpack_from(self._memory, at)
            words = self._memory[at + _SLOT.size : at + _SLOT.size + length]
            if number and _checksum(number, words) == checksum:
                written.append((number, words))
        return written

    @staticmethod
    def _slot(seat: int, number: int) -> int:
        return seat * SEAT_BYTES + _SLOTS_AT + number % 2 * _SLOT_BYTES

    def _get(self, seat: int, at: int) -> int:
        number: int = _NUMBER.unpack_from(self._memory, seat * SEAT_BYTES + at)[0]
        return number

    def _set(self, seat: int, at: int, number: int) -> None:
        _NUMBER.pack_into(self._memory, seat * SEAT_BYTES + at, number)


class Seat(Places, Siblings):
    """One worker's seat; `places` are those of all workers together."""

    def __init__(self, board: WorkerBoard, number: int, places: int) -> None:
        self._board = board
        self._number = number
        self._places = places

    @property
    def number(self) -> int:
        """Which seat it is. See `Siblings.number`."""
        return self._number

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
        self._board.give_beat(self._number)

    def own(self) -> bytes | None:
        """Return the last words said on this seat. See `Siblings.own`."""
        return self._board.read(self._number)

    def others(self) -> Sequence[bytes]:
        """Return the last words on every other seat. See `Siblings.others`."""
        return self._read(is_alive=True)

    def gone(self) -> Sequence[bytes]:
        """Return the last words on seats where nobody is. See `Siblings.gone`."""
        return self._read(is_alive=False)

    def _read(self, *, is_alive: bool) -> Sequence[bytes]:
        board = self._board
        seats = [
            seat
            for seat in range(board.seats)
            if seat != self._number and bool(board.beat(seat)) is is_alive
        ]
        return [words for words in map(board.read, seats) if words is not None]
