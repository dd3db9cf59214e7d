"""A stream that this worker owns, or owned a moment ago."""

from secrets import token_hex

from rtaa_reader.events import Call
from rtaa_reader.position import Position
from rtaa_reader.tape import Tape

MAX_UNSEEN = 3_000
"""A stream that the broker lacks this often, for a minute, has expired or is lost."""


class Owned:
    """The read position and the committed position of a stream.

    The broker has confirmed `stored`. A released stream is kept for a while, since the broker may
    lose the release.
    """

    def __init__(self, stream: str) -> None:
        self.stream, self.owner, self.fence, self.is_released = stream, token_hex(8), 0, True
        self.begin(Position(), Call())

    def begin(self, position: Position, call: Call) -> None:
        """Continue from a position; earlier events belong to an older lease."""
        self.committed = self.stored = position._replace(number=0)
        self.unseen, self.tape = 0, Tape(self.stream, token_hex(8), self.committed, call)

    def is_over(self) -> bool:
        """Return whether it is read and committed to the end of its last run, or gone."""
        is_done = 0 < self.committed.number == self.tape.position.number
        return self.unseen > MAX_UNSEEN or (is_done and self.committed.runs[-1].ended)
