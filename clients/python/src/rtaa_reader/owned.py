"""A stream that this worker owns, or owned a moment ago."""

from secrets import token_hex

from rtaa_reader.events import Call
from rtaa_reader.position import Position
from rtaa_reader.tape import Tape

NEVER, GONE_SECONDS = float("-inf"), 60.0
"""A stream of which the broker has nothing for so long has expired, or is lost for good."""


class Owned:
    """How far a stream was read, and how far it is committed.

    The broker has confirmed `stored`. No other worker can own the stream before `expires_at`. It is
    kept for a while after its release: the broker may lose what it has confirmed.
    """

    def __init__(self, stream: str) -> None:
        self.stream, self.owner, self.fence = stream, token_hex(8), 0
        self.held_at = self.expires_at = self.checked_at = self.seen_at = NEVER
        self.is_released = self.is_drained = False
        self.begin(Position(), Call())

    def begin(self, position: Position, call: Call) -> None:
        """Read on from a position; what was read before belongs to an older lease."""
        self.committed = self.stored = position
        self.tape = Tape(self.stream, f"{self.owner}/{self.fence}", position, call)

    def has_ended(self, now: float) -> bool:
        """Tell whether all is read and committed and its last run has ended; or it is gone."""
        is_done = self.is_drained and self.committed.number == self.tape.position.number
        is_over = any(it.ended for it in self.committed.runs[-1:])
        return is_done and (is_over or now - self.seen_at >= GONE_SECONDS)
