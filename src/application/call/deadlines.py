"""Time-outs: until when a sender must send, and how long a call may last. Times are monotonic."""

from dataclasses import dataclass

from application.call.closing import IDLE, NO_START, TOO_LONG, Closing

STANDSTILL_SECONDS = 0.5
"""If a deadline is noticed this much too late, this process was paused, not the sender."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds from the handshake to `start`, between messages, and from `start` to the end.

    `confirm_seconds` limits how long a sender that can resume stays connected while
    nothing is confirmed, `drain_seconds` how long a call may continue when the service stops.
    """

    start_seconds: float
    idle_seconds: float
    call_seconds: float
    confirm_seconds: float
    drain_seconds: float


class Deadlines:
    """The next deadline of a session, and how the connection is closed when it passes.

    `heard_at` is the time of the last message. While `is_paused` the sender is not read, so it does
    not count as silent. `is_requested`: a start is requested. `live_since` is when the run began.
    From the request to the grant, a sender that `is_awaiting` the answer to its start does not
    count as silent.
    """

    def __init__(self, limits: TimeLimits, opened_at: float) -> None:
        self._limits = limits
        self._opened_at = opened_at
        self.heard_at = opened_at
        self.is_paused = False
        self.is_requested = self.is_awaiting = False
        self.live_since: float | None = None
        self.has_ended = False
        """Whether the sender has sent its end: no further message is expected."""

    def note_requested(self, *, is_answered: bool) -> None:
        """Note that a start is requested; if it `is_answered`, its sender may wait for that."""
        self.is_requested, self.is_awaiting = True, is_answered

    def note_live(self, run_started_at: float, now: float) -> None:
        """Note that the start is granted; a sender that waited for this was not silent."""
        self.live_since = run_started_at
        if self.is_awaiting:
            self.is_awaiting, self.heard_at = False, now

    @property
    def due_at(self) -> float:
        """When the connection is closed, unless a message comes before."""
        limits = self._limits
        if self.live_since is None and not self.is_requested:
            return self._opened_at + limits.start_seconds
        too_long_at = self._began_at + limits.call_seconds
        if self.has_ended or self.is_paused or self.is_awaiting:  # it waits for us
            return too_long_at
        return min(self.heard_at + limits.idle_seconds, too_long_at)

    @property
    def _began_at(self) -> float:
        """When the run began; before that, when the connection was opened."""
        return self._opened_at if self.live_since is None else self.live_since

    def overdue(self, now: float) -> Closing | None:
        """Return how to close; None if no deadline has passed.

        A pause of this process does not count as silence of the sender.
        """
        if now - self.due_at > STANDSTILL_SECONDS:
            self.heard_at = now
        if now < self.due_at:
            return None
        is_started = self.live_since is not None
        if (is_started or self.is_requested) and now >= self._began_at + self._limits.call_seconds:
            return TOO_LONG
        return IDLE if is_started else NO_START
