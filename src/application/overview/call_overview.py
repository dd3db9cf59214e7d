"""All calls of a store, as of the last looks. Pure and bounded.

announced   a start or an end: the call is known, the next look shows more
looked      a look at its stream: where it stands, and its last entry
absent      a look that found no stream
unread      a look that failed
asked       the store is asked · heard   it has answered · failed   it has not
"""

from collections import deque
from collections.abc import Collection

from application.overview.call import Call
from application.overview.condition import Condition
from application.overview.outages import Outage
from application.overview.selection import Selected, select
from application.ports.clock import Instant
from application.ports.reader import Announcement, Newest
from domain.identifiers import StreamKey

MAX_LIVE = 4_000
MAX_OVER = 200
"""How many ended calls are kept: the latest."""

MAX_OUTAGES = 50

SILENT_SECONDS = 3.0
"""A store that has not answered a request for this long counts as away, even without an error."""

QUIET_SECONDS = 1.0
"""If a request has no answer for this long, the current state is unknown."""

COST_SECONDS = 15.0
"""Frames whose loss is found this soon after an outage were lost in it."""


class CallOverview:
    """The state of all calls. One follower feeds it; any number of views read it."""

    def __init__(self, max_live: int = MAX_LIVE, max_over: int = MAX_OVER) -> None:
        self._max_live, self._max_over = max_live, max_over
        self._live: dict[StreamKey, Call] = {}
        self._over: dict[StreamKey, Call] = {}
        self._unfollowed: dict[StreamKey, Announcement] = {}
        self.outages: deque[Outage] = deque(maxlen=MAX_OUTAGES)
        self.opened_at: Instant | None = None
        """When the view was opened."""
        self.heard_at: Instant | None = None
        self._asked_at: float | None = None
        """When the pending request to the store was made."""
        self.has_answered = False
        self.back_at: float | None = None
        """When the store came back from its last outage."""
        self.failure = ""
        self.has_index = False
        """Whether the announcements were read to their end once."""

    @property
    def calls(self) -> list[Call]:
        """All calls: the live ones, then the ended ones, the latest last."""
        return [*self._live.values(), *self._over.values()]

    @property
    def unfollowed(self) -> int:
        """How many live calls exceed the limit of followed ones, up to a bound."""
        return len(self._unfollowed)

    @property
    def is_seen(self) -> bool:
        """Whether there was a look at each live call."""
        return all(call.condition is not Condition.UNSEEN for call in self._live.values())

    def call(self, stream: StreamKey) -> Call | None:
        """Return a call, if it is known."""
        return self._live.get(stream) or self._over.get(stream)

    def opened(self, now: Instant) -> None:
        """Note that the store is asked from now on."""
        self.opened_at = now
        self.asked(now)

    def announced(self, announced: Announcement, now: Instant) -> None:
        """Take an announcement."""
        stream = announced.stream
        call = self._live.pop(stream, None) or self._over.pop(stream, None)
        self._unfollowed.pop(stream, None)
        if not announced.has_ended and self._is_full:
            if len(self._unfollowed) < self._max_live:
                self._unfollowed[stream] = announced
            return
        if call is None:
            call = Call(stream, announced.interaction_id, now.monotonic, announced.run)
        call.announce(announced, now)
        self._place(call, now)
        if call.condition.is_over:
            self._follow_another(now)

    def looked(self, stream: StreamKey, newest: Newest, now: Instant) -> None:
        """Handle the result of a look."""
        call = self._live.get(stream) or self._over.get(stream)
        if call is None:
            return
        was_over, run = call.condition.is_over, call.run
        before = None if call.looked_at is None else call.ledger.lost
        call.look(newest, now, self.back_at)
        if before is not None and call.run == run:
            self._charge(max(0, call.ledger.lost - before), now)
        if call.condition.is_over != was_over:
            self._remove(stream)
            if call.condition.is_over or not self._is_full:  # else its announcement comes
                self._place(call, now)
            self._follow_another(now)

    def absent(self, stream: StreamKey, now: Instant) -> None:
        """Note that a look has found no stream: expired, or lost by the store."""
        call = self._live.pop(stream, None)
        if call is not None:
            is_known = call.condition is not Condition.UNSEEN
            call.condition, call.looked_at = Condition.GONE, now.monotonic
            call.is_unread = False
            if is_known:  # else it had expired before this process looked
                self._place(call, now)
            self._follow_another(now)
        elif (over := self._over.get(stream)) is not None:
            over.looked_at, over.is_unread = now.monotonic, False

    def unread(self, stream: StreamKey, now: Instant) -> None:
        """Note that a look has failed."""
        call = self.call(stream)
        if call is not None:
            call.is_unread = True
            if call.condition is Condition.UNSEEN:
                call.looked_at = now.monotonic

    def asked(self, now: Instant) -> None:
        """Note a request to the store."""
        if self._asked_at is None:
            self._asked_at = now.monotonic

    def heard(self, now: Instant) -> None:
        """Note that the store has answered."""
        if self.away_seconds(now) is not None:
            self._note_outage(now).until_ms = now.epoch_ms
            self.back_at = now.monotonic
        self.heard_at, self.failure, self.has_answered = now, "", True
        self._asked_at = None

    def failed(self, why: str, now: Instant) -> None:
        """Note that the store has not answered."""
        if not self.failure:
            self._note_outage(now)
            self.heard_at = self.heard_at or self.opened_at or now
        self.failure = why or "no answer"

    def away_seconds(self, now: Instant) -> float | None:
        """Return how long the store has not answered; None if it does."""
        seconds = self._unheard_seconds(now)
        is_silent = self._asked_at is not None and seconds >= SILENT_SECONDS
        return seconds if self.failure or is_silent else None

    def quiet_seconds(self, now: Instant) -> float | None:
        """Return how long the store has not answered, if that is unusually long; else None."""
        if self.away_seconds(now) is not None:
            return self.away_seconds(now)
        if self._asked_at is None or not self.has_answered:
            return None
        is_quiet = now.monotonic - self._asked_at >= QUIET_SECONDS
        return self._unheard_seconds(now) if is_quiet else None

    def _unheard_seconds(self, now: Instant) -> float:
        since = self.heard_at or self.opened_at
        return 0.0 if since is None else max(0.0, now.monotonic - since.monotonic)

    def _note_outage(self, now: Instant) -> Outage:
        """Return the current outage, which began at the store's last answer."""
        if not self.outages or self.outages[-1].until_ms is not None:
            since = self.heard_at or self.opened_at or now
            self.outages.append(Outage(since.epoch_ms, is_seen_late=not self.has_answered))
        return self.outages[-1]

    def _charge(self, lost: int, now: Instant) -> None:
        """Add losses to an outage, found by looks during it or soon after it."""
        is_near = self.back_at is not None and now.monotonic - self.back_at <= COST_SECONDS
        if self.outages and is_near:
            self.outages[-1].lost = (self.outages[-1].lost or 0) + lost

    @property
    def live(self) -> Collection[Call]:
        """The live calls, and those that wait for a sender."""
        return self._live.values()

    @property
    def over(self) -> Collection[Call]:
        """The ended calls that are kept, the latest last."""
        return self._over.values()

    def select(self, text: str, limit: int) -> Selected:
        """Return the calls that have each word of `text`: those with trouble first, then by age.

        Words are searched in tenant, interaction, stream, track, dialect, state and findings.
        """
        return select(self._live.values(), self._over.values(), text, limit)

    @property
    def _is_full(self) -> bool:
        return len(self._live) >= self._max_live

    def _follow_another(self, now: Instant) -> None:
        """Follow one of the calls above the limit, now that there may be room."""
        if self._unfollowed and not self._is_full:
            self.announced(self._unfollowed.pop(next(iter(self._unfollowed))), now)

    def _remove(self, stream: StreamKey) -> None:
        self._live.pop(stream, None)
        self._over.pop(stream, None)

    def _place(self, call: Call, now: Instant) -> None:
        if call.condition.is_over:
            if call.over_at is None and self.has_index:
                call.over_at = now.monotonic
            self._over[call.stream] = call
            if len(self._over) > self._max_over:
                self._over.pop(next(iter(self._over)))
        else:
            self._live[call.stream] = call
