"""All calls that a store tells of, as they were looked at last. Pure, and bounded.

announced   a start or an end: the call is known, the look that follows tells more
looked      a look at its stream: where it stands, and its last entry
absent      a look that found no stream
unread      a look that failed
heard       the store has answered · failed   it has not
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from application.overview.call import Call, Condition
from application.ports.clock import Instant
from application.ports.reader import Announcement, Newest
from domain.identifiers import StreamKey

MAX_LIVE = 4_000
MAX_OVER = 200
"""How many calls that are over are remembered: the latest."""

MAX_OUTAGES = 50

SILENT_SECONDS = 3.0
"""A store that has not answered for so long is away, whether it has failed or not."""

RANK = {
    Condition.STILL: 0,  # also a call that has sent nothing for too long
    Condition.CUT: 1,
    Condition.GONE: 2,
    Condition.WAITING: 5,
    Condition.FLOWING: 6,
    Condition.UNSEEN: 6,
    Condition.ENDED: 7,
}
INCOMPLETE_RANK = 3
FINDING_RANK = 4
RANKS = 8


@dataclass(slots=True)
class Outage:
    """A time in which the store did not answer; `until_ms` None while it lasts."""

    since_ms: int
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """The calls of a selection, cut to what is shown, and how many there are."""

    shown: tuple[Call, ...]
    matching: int


class CallOverview:
    """What all calls do. Feed it from one place; read it from any number of views."""

    def __init__(self, max_live: int = MAX_LIVE, max_over: int = MAX_OVER) -> None:
        self._max_live, self._max_over = max_live, max_over
        self._live: dict[StreamKey, Call] = {}
        self._over: dict[StreamKey, Call] = {}
        self._unfollowed: dict[StreamKey, Announcement] = {}
        self.outages: deque[Outage] = deque(maxlen=MAX_OUTAGES)
        self.opened_at: Instant | None = None
        """When the view was opened that asks the store."""
        self.heard_at: Instant | None = None
        self.has_answered = False
        self.back_at: float | None = None
        """When the store was back the last time."""
        self.failure = ""
        self.has_index = False
        """Whether the announcements were read to their end once."""

    @property
    def calls(self) -> list[Call]:
        """All calls: the live ones, then those that are over, the latest last."""
        return [*self._live.values(), *self._over.values()]

    @property
    def unfollowed(self) -> int:
        """How many live calls are too many to be followed, up to a bound."""
        return len(self._unfollowed)

    @property
    def is_seen(self) -> bool:
        """Whether each live call was looked at."""
        return all(call.condition is not Condition.UNSEEN for call in self._live.values())

    def call(self, stream: StreamKey) -> Call | None:
        """Return a call, if it is known."""
        return self._live.get(stream) or self._over.get(stream)

    def opened(self, now: Instant) -> None:
        """Note that the store is asked from now on."""
        self.opened_at = now

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
        """Take what a look has found."""
        call = self._live.get(stream) or self._over.get(stream)
        if call is None:
            return
        was_over = call.condition.is_over
        call.look(newest, now, self.back_at)
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
            if is_known:  # else it had expired before this process looked
                self._place(call, now)
            self._follow_another(now)
        elif (over := self._over.get(stream)) is not None:
            over.looked_at = now.monotonic

    def unread(self, stream: StreamKey, now: Instant) -> None:
        """Note that a look has failed."""
        call = self.call(stream)
        if call is not None:
            call.is_unread = True
            if call.condition is Condition.UNSEEN:
                call.looked_at = now.monotonic

    def heard(self, now: Instant) -> None:
        """Note that the store has answered."""
        if self.outages and self.outages[-1].until_ms is None:
            self.outages[-1].until_ms = now.epoch_ms
        if self.away_seconds(now) is not None:
            self.back_at = now.monotonic
        self.heard_at, self.failure, self.has_answered = now, "", True

    def failed(self, why: str, now: Instant) -> None:
        """Note that the store has not answered."""
        if not self.failure:
            since = self.heard_at or self.opened_at or now
            self.outages.append(Outage(since.epoch_ms))
            self.heard_at = since
        self.failure = why or "no answer"

    def away_seconds(self, now: Instant) -> float | None:
        """Return how long the store has not answered; None if it does."""
        since = self.heard_at or self.opened_at
        if since is None:
            return None
        seconds = max(0.0, now.monotonic - since.monotonic)
        return seconds if self.failure or seconds >= SILENT_SECONDS else None

    @property
    def live(self) -> Collection[Call]:
        """The calls that are not over."""
        return self._live.values()

    @property
    def over(self) -> Collection[Call]:
        """The calls that are over, as far as they are remembered, the latest last."""
        return self._over.values()

    def select(self, text: str, limit: int) -> Selected:
        """Return the calls that have each word of `text`: those with trouble first, then by age.

        A word is looked for in tenant, interaction, stream, track, dialect, condition and findings.
        """
        words = text.lower().split()
        ranks: list[list[Call]] = [[] for _ in range(RANKS)]
        for call in [*self._live.values(), *reversed(self._over.values())]:
            if not words or _has(call, words):
                ranks[_rank(call)].append(call)
        ranks[RANK[Condition.STILL]].sort(key=_moved_at)
        matching = [call for rank in ranks for call in rank]
        return Selected(tuple(matching[:limit]), len(matching))

    @property
    def _is_full(self) -> bool:
        return len(self._live) >= self._max_live

    def _follow_another(self, now: Instant) -> None:
        """Take one of those that were too many, now that there may be a place."""
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


def _has(call: Call, words: Collection[str]) -> bool:
    stream = call.stream
    text = (
        f"{stream.tenant_id} {call.interaction_id} {stream.stream_id} {call.track or ''} "
        f"{call.dialect} {call.condition.value} {' '.join(call.findings)}"
    ).lower()
    return all(word in text for word in words)


def _rank(call: Call) -> int:
    rank = RANK[Condition.STILL if call.is_mute else call.condition]
    if INCOMPLETE_RANK < rank < RANK[Condition.ENDED]:
        if call.is_incomplete:
            return INCOMPLETE_RANK
        if call.alarming:
            return FINDING_RANK
    return rank


def _moved_at(call: Call) -> float:
    return call.announced_at if call.moved_at is None else call.moved_at
