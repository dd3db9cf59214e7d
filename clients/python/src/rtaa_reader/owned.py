"""A stream that this worker owns, or owned a moment ago."""

from secrets import token_hex

from rtaa_reader.events import Call
from rtaa_reader.position import Position
from rtaa_reader.tape import Tape

MAX_UNSEEN = 3_000
"""A stream of which the broker had nothing so often, for a minute, is expired or lost for good."""


class Owned:
    """How far a stream was read, and how far it is committed.

    The broker has confirmed `stored`. One that is released is kept for a while: the broker may lose
    what it has confirmed.
    """

    def __init__(self, stream: str) -> None:
        self.stream, self.owner, self.fence, self.is_released = stream, token_hex(8), 0, True
        self.begin(Position(), Call())

    def begin(self, position: Position, call: Call) -> None:
        """Read on from a position; what was read before belongs to an older lease."""
        self.committed = self.stored = position._replace(number=0)
        self.unseen, self.tape = 0, Tape(self.stream, token_hex(8), self.committed, call)

    def is_over(self) -> bool:
        """Tell whether all is read and committed, and its last run has ended; or it is gone."""
        is_done = 0 < self.committed.number == self.tape.position.number
        return self.unseen > MAX_UNSEEN or (is_done and self.committed.runs[-1].ended)
