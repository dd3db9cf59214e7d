"""An operator's four questions, answered in words.

    arriving   is audio arriving?      calling   who is calling?
    complete   is it complete?         wrong     what is wrong?

Each answer has a tone: `good`, `bad`, or `unknown` where the store is away and the figures are old.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from application.overview.call import Call, Condition
from application.overview.call_overview import CallOverview
from application.ports.clock import Instant
from domain.events import EndReason

LATE_MS = 1_000
"""From this latency on a call is published late."""

MAX_NAMES = 5
ORDERLY = frozenset({EndReason.ENDED, EndReason.CALLENDED, EndReason.STOPPED})


class Tone(StrEnum):
    """How an answer is meant."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in words."""

    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to the four questions, and the store's state; `wrong` is never empty."""

    broker: Answer
    arriving: Answer
    complete: Answer
    calling: Answer
    wrong: tuple[Answer, ...]


def answer(overview: CallOverview, now: Instant) -> Answers:
    """Answer the four questions."""
    broker = _broker(overview, now)
    return Answers(
        broker,
        _arriving(overview, is_old=broker.tone is not Tone.GOOD),
        _complete(overview),
        _calling(overview),
        _wrong(overview, broker, now),
    )


def calls(count: int) -> str:
    """Say how many calls."""
    return f"{count:,} call" if count == 1 else f"{count:,} calls"


def _broker(overview: CallOverview, now: Instant) -> Answer:
    away = overview.away_seconds(now)
    if away is not None:
        why = f": {overview.failure}" if overview.failure else ""
        return Answer(Tone.BAD, f"broker away for {away:.0f} s{why}")
    if overview.heard_at is None:
        return Answer(Tone.UNKNOWN, "the broker is asked")
    if not overview.has_index:
        return Answer(Tone.UNKNOWN, "the index of calls is read")
    return Answer(Tone.GOOD, "broker answers")


def _arriving(overview: CallOverview, *, is_old: bool) -> Answer:
    live = len(overview.live)
    flowing = overview.live_in(Condition.FLOWING)
    rate = sum(call.frames_per_second or 0.0 for call in flowing)
    unseen = len(overview.live_in(Condition.UNSEEN))
    text = f"{len(flowing):,} of {calls(live)} with audio, {rate:,.0f} frames/s"
    if is_old:
        return Answer(Tone.UNKNOWN, f"not known now; last seen: {text}")
    if live == 0:
        return Answer(Tone.GOOD, "no live calls")
    if unseen:
        text += f", {unseen:,} not looked at yet"
    is_bad = any(overview.live_in(it) for it in (Condition.STILL, Condition.CUT))
    return Answer(Tone.BAD if is_bad else Tone.GOOD, text)


def _complete(overview: CallOverview) -> Answer:
    incomplete = [call for call in overview.calls if call.is_incomplete]
    if not incomplete:
        over = len(overview.over)
        return Answer(Tone.GOOD, f"nothing missing in {calls(len(overview.live))} and {over} ended")
    missing = sum(call.ledger.missing for call in incomplete)
    lost = sum(call.ledger.lost for call in incomplete)
    live = sum(not call.condition.is_over for call in incomplete)
    text = f"{missing:,} frames missing in {calls(len(incomplete))}, {live:,} of them live"
    return Answer(Tone.BAD, f"{text}; {lost:,} were received and lost" if lost else text)


def _calling(overview: CallOverview) -> Answer:
    tenants = overview.tenants()
    if not tenants:
        return Answer(Tone.GOOD, "no tenant")
    count = f"{len(tenants):,} tenant" + ("" if len(tenants) == 1 else "s")
    return Answer(
        Tone.GOOD, f"{count}: {_counts(tenants)}; dialects: {_counts(overview.dialects()) or '-'}"
    )


def _counts(counted: Counter[str]) -> str:
    names = [f"{name} {count:,}" for name, count in counted.most_common(MAX_NAMES)]
    more = len(counted) - len(names)
    return ", ".join([*names, f"{more:,} more"] if more > 0 else names)


def _wrong(overview: CallOverview, broker: Answer, now: Instant) -> tuple[Answer, ...]:
    found = [broker.text] if broker.tone is Tone.BAD else []
    still = overview.live_in(Condition.STILL)
    if still and broker.tone is Tone.GOOD:
        longest = max(call.frame_age(now) or 0.0 for call in still)
        found.append(f"{calls(len(still))} without audio, the longest for {longest:.0f} s")
    if cut := overview.live_in(Condition.CUT):
        found.append(f"{calls(len(cut))} cut, until the sender comes back")
    late = [call for call in overview.live if _is_late(call)]
    if late:
        latest = max(call.latency_ms or 0 for call in late) / 1_000
        found.append(f"{calls(len(late))} published late, up to {latest:.1f} s")
    if unread := sum(call.is_unread for call in overview.live):
        found.append(f"{calls(unread)} cannot be read")
    if gone := sum(call.condition is Condition.GONE for call in overview.over):
        found.append(f"{calls(gone)} gone from the store without an end")
    odd = Counter(
        call.end_reason.value
        for call in overview.over
        if call.end_reason is not None and call.end_reason not in ORDERLY
    )
    if odd:
        found.append(f"{calls(odd.total())} ended otherwise than by the sender: {_counts(odd)}")
    if overview.unfollowed:
        found.append(f"{calls(overview.unfollowed)} more than can be followed")
    if not found and broker.tone is Tone.UNKNOWN:
        return (broker,)
    return tuple(Answer(Tone.BAD, text) for text in found) or (Answer(Tone.GOOD, "nothing"),)


def _is_late(call: Call) -> bool:
    return call.condition is Condition.FLOWING and (call.latency_ms or 0) >= LATE_MS
