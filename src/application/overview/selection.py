"""The visible calls of a view: those that match a filter, with trouble first."""

from collections.abc import Collection
from dataclasses import dataclass

from application.overview.call import Call
from application.overview.condition import Condition

RANK = {
    Condition.STILL: 0,  # also a call that has sent nothing for too long
    Condition.CUT: 1,
    Condition.GONE: 2,
    Condition.WAITING: 5,
    Condition.FLOWING: 6,
    Condition.UNSEEN: 6,
    Condition.ENDED: 7,
}
UNREAD_RANK = 2
INCOMPLETE_RANK = 3
FINDING_RANK = 4
RANKS = 8


@dataclass(frozen=True, slots=True)
class Selected:
    """The visible calls of a selection, and the number of all its calls."""

    shown: tuple[Call, ...]
    matching: int


def select(live: Collection[Call], over: Collection[Call], text: str, limit: int) -> Selected:
    """Return the calls that have each word of `text`: those with trouble first, then by age."""
    words = text.lower().split()
    ranks: list[list[Call]] = [[] for _ in range(RANKS)]
    for call in [*live, *reversed(list(over))]:
        if not words or _has(call, words):
            ranks[_rank(call)].append(call)
    ranks[RANK[Condition.STILL]].sort(key=_moved_at)
    matching = [call for rank in ranks for call in rank]
    return Selected(tuple(matching[:limit]), len(matching))


def _has(call: Call, words: Collection[str]) -> bool:
    stream = call.stream
    text = (
        f"{stream.tenant_id} {call.interaction_id} {stream.stream_id} {call.track or ''} "
        f"{call.dialect} {call.state} {call.end_reason or ''} {' '.join(call.findings)}"
    ).lower()
    return all(word in text for word in words)


def _rank(call: Call) -> int:
    if call.is_unread and not call.condition.is_over:
        return UNREAD_RANK
    rank = RANK[Condition.STILL if call.is_mute else call.condition]
    if INCOMPLETE_RANK < rank < RANK[Condition.ENDED]:
        if call.is_incomplete:
            return INCOMPLETE_RANK
        if call.alarming:
            return FINDING_RANK
    return rank


def _moved_at(call: Call) -> float:
    return call.announced_at if call.moved_at is None else call.moved_at
