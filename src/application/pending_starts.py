"""Starts that are said and not yet through: of each stream in the order in which they were said.

A start may wait long for the destination, also when its sender is gone, and a newer sender of the
stream may come meanwhile. Each waits for those before it: what an older sender has said is put on
its way first, and none takes the stream away from one that came after it.
"""

import asyncio

from domain.identifiers import StreamKey

_Rows = dict[StreamKey, list["PendingStart"]]


class PendingStart:
    """A place in the row of one stream's starts."""

    def __init__(self, rows: _Rows, stream: StreamKey) -> None:
        self._rows = rows
        self._stream = stream
        self._turn = asyncio.Event()

    @property
    def is_first(self) -> bool:
        """Whether nobody is before it."""
        return self._turn.is_set()

    @property
    def is_followed(self) -> bool:
        """Whether somebody is behind it."""
        return self._rows.get(self._stream, [self])[-1] is not self

    async def wait_for_turn(self) -> None:
        """Wait until nobody is before it."""
        await self._turn.wait()

    def take_turn(self) -> None:
        """Note that nobody is before it."""
        self._turn.set()

    def leave(self) -> None:
        """Make room for the next: all that was said is on its way, or given up. Once or more."""
        row = self._rows.get(self._stream, [])
        if self not in row:
            return
        row.remove(self)
        if row:
            row[0].take_turn()
        else:
            del self._rows[self._stream]


class PendingStarts:
    """The rows of a process; how many starts stand in them is its length."""

    def __init__(self) -> None:
        self._rows: _Rows = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def enter(self, stream: StreamKey) -> PendingStart:
        """Take the last place in the row of `stream`."""
        place = PendingStart(self._rows, stream)
        row = self._rows.setdefault(stream, [])
        row.append(place)
        row[0].take_turn()
        return place
