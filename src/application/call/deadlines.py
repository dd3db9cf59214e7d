"""Time-outs: until when a sender must send, and how long a call may last. Times are monotonic."""

from dataclasses import dataclass

from application.call.closing import IDLE, NO_START, TOO_LONG, Closing

STANDSTILL_SECONDS = 0.5
"""A deadline that is noticed so much too late: this process stood still, not the sender."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds from the handshake to `start`, between messages, and from `start` to the end.

    `confirm_seconds` is how long a sender that reconnects is kept when nothing can be confirmed,
    `drain_seconds` how long a call may last when the service stops.
    """

    start_seconds: float
    idle_seconds: float
    call_seconds: float
    confirm_seconds: float
    drain_seconds: float


class Deadlines:
    """The next deadline of a session, and how the connection is closed when it passes.

    `heard_at` is when a message came last. While `is_unread` the sender cannot be heard, and is not
    silent. `is_requested` tells whether a start is requested; `live_since` is when the run began.
    Between the two a sender `is_awaiting` the answer, if it gets one: it need not speak.
    """

    def __init__(self, limits: TimeLimits, opened_at: float) -> None:
        self._limits = limits
        self._opened_at = opened_at
        self.heard_at = opened_at
        self.is_unread = False
        self.is_requested = self.is_awaiting = False
        self.live_since: float | None = None
        self.has_ended = False
        """Whether the sender has sent its end: it need not be heard any more."""

    def note_requested(self, *, is_answered: bool) -> None:
        """Note that a start is requested, for whose answer its sender may wait."""
        self.is_requested, self.is_awaiting = True, is_answered

    def note_live(self, run_started_at: float, now: float) -> None:
        """Note that the start is granted: who has waited for that was not silent."""
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
        if self.has_ended or self.is_unread or self.is_awaiting:  # it waits for us
            return too_long_at
        return min(self.heard_at + limits.idle_seconds, too_long_at)

    @property
    def _began_at(self) -> float:
        """When the run began; when the connection was opened, as long as there is none."""
        return self._opened_at if self.live_since is None else self.live_since

    def overdue(self, now: float) -> Closing | None:
        """Return how to close; None if no deadline has passed.

        The time in which this process stood still does not count as the sender's silence.
        """
        if now - self.due_at > STANDSTILL_SECONDS:
            self.heard_at = now
        if now < self.due_at:
            return None
        is_started = self.live_since is not None
        if (is_started or self.is_requested) and now >= self._began_at + self._limits.call_seconds:
            return TOO_LONG
        return IDLE if is_started else NO_START
