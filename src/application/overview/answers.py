"""An operator's four questions, answered in words.

    arriving   is audio arriving?      calling   who is calling?
    complete   is it complete?         wrong     what is wrong?

Each answer has a tone: `good`, `bad`, or `unknown` where the store is away and the figures are old.
"""

from collections import Counter
from dataclasses import dataclass, field
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
    """Answer the four questions, in one pass over the calls."""
    broker, tally = _broker(overview, now), _Tally()
    for call in overview.calls:
        tally.take(call, now)
    return Answers(
        broker,
        _arriving(tally, is_old=broker.tone is not Tone.GOOD),
        _complete(tally),
        _calling(tally),
        _wrong(tally, broker, overview.unfollowed),
    )


def calls(count: int) -> str:
    """Say how many calls."""
    return f"{count:,} call" if count == 1 else f"{count:,} calls"


@dataclass(slots=True)
class _Tally:
    """What is counted over all calls; seconds and milliseconds are the longest."""

    conditions: Counter[Condition] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    dialects: Counter[str] = field(default_factory=Counter)
    odd_ends: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    odd_audio: int = 0
    live: int = 0
    over: int = 0
    rate: float = 0.0
    incomplete: int = 0
    incomplete_live: int = 0
    missing: int = 0
    lost: int = 0
    unread: int = 0
    late: int = 0
    latest_ms: int = 0
    still_seconds: float = 0.0

    def take(self, call: Call, now: Instant) -> None:
        """Count a call."""
        condition, is_live = call.condition, not call.condition.is_over
        self.conditions[condition] += 1
        alarming = call.alarming
        self.findings.update(it.value for it in alarming)
        self.odd_audio += bool(alarming)
        if call.is_incomplete:
            self.incomplete += 1
            self.incomplete_live += is_live
            self.missing += call.ledger.missing
            self.lost += call.ledger.lost
        if not is_live:
            self.over += 1
            if call.end_reason is not None and call.end_reason not in ORDERLY:
                self.odd_ends[call.end_reason.value] += 1
            return
        self.live += 1
        self.unread += call.is_unread
        self.tenants[call.stream.tenant_id] += 1
        if call.dialect:
            self.dialects[call.dialect] += 1
        if condition is Condition.FLOWING:
            self.rate += call.frames_per_second or 0.0
            if call.latency_ms is not None and call.latency_ms >= LATE_MS:
                self.late += 1
                self.latest_ms = max(self.latest_ms, call.latency_ms)
        elif condition is Condition.STILL:
            self.still_seconds = max(self.still_seconds, call.frame_age(now) or 0.0)


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


def _arriving(tally: _Tally, *, is_old: bool) -> Answer:
    flowing = tally.conditions[Condition.FLOWING]
    text = f"{flowing:,} of {calls(tally.live)} with audio, {tally.rate:,.0f} frames/s"
    if is_old:
        return Answer(Tone.UNKNOWN, f"not known now; last seen: {text}")
    if tally.live == 0:
        return Answer(Tone.GOOD, "no live calls")
    if unseen := tally.conditions[Condition.UNSEEN]:
        text += f", {unseen:,} not looked at yet"
    is_bad = tally.conditions[Condition.STILL] or tally.conditions[Condition.CUT]
    return Answer(Tone.BAD if is_bad else Tone.GOOD, text)


def _complete(tally: _Tally) -> Answer:
    if not tally.incomplete:
        text = f"nothing missing in {calls(tally.live)}, and {tally.over} that are over"
        return Answer(Tone.GOOD, text)
    text = f"{tally.missing:,} frames missing in {calls(tally.incomplete)}"
    if tally.incomplete_live != tally.incomplete:
        text += f", {tally.incomplete_live:,} of them live"
    if tally.lost:
        text += f"; {tally.lost:,} were received and lost"
    return Answer(Tone.BAD, text)


def _calling(tally: _Tally) -> Answer:
    tenants = tally.tenants
    if not tenants:
        return Answer(Tone.GOOD, "no tenant")
    count = f"{len(tenants):,} tenant" + ("" if len(tenants) == 1 else "s")
    text = f"{count}: {_counts(tenants)}; dialects: {_counts(tally.dialects) or '-'}"
    return Answer(Tone.GOOD, text)


def _counts(counted: Counter[str]) -> str:
    names = [f"{name} {count:,}" for name, count in counted.most_common(MAX_NAMES)]
    more = len(counted) - len(names)
    return ", ".join([*names, f"{more:,} more"] if more > 0 else names)


def _wrong(tally: _Tally, broker: Answer, unfollowed: int) -> tuple[Answer, ...]:
    found = [broker.text] if broker.tone is Tone.BAD else []
    still = tally.conditions[Condition.STILL]
    if still and broker.tone is Tone.GOOD:
        longest = f"the longest for {tally.still_seconds:.0f} s"
        found.append(f"{calls(still)} without audio, {longest}")
    if cut := tally.conditions[Condition.CUT]:
        found.append(f"{calls(cut)} cut, until the sender comes back")
    if tally.late:
        found.append(f"{calls(tally.late)} published late, up to {tally.latest_ms / 1_000:.1f} s")
    if tally.odd_audio:
        what = _counts(tally.findings)
        found.append(f"{calls(tally.odd_audio)} with audio that is not as it should be: {what}")
    if tally.unread:
        found.append(f"{calls(tally.unread)} cannot be read")
    if gone := tally.conditions[Condition.GONE]:
        found.append(f"{calls(gone)} gone from the store without an end")
    if odd := tally.odd_ends:
        found.append(f"{calls(odd.total())} ended otherwise than by the sender: {_counts(odd)}")
    if unfollowed:
        found.append(f"{calls(unfollowed)} more than can be followed")
    if not found and broker.tone is Tone.UNKNOWN:
        return (broker,)
    return tuple(Answer(Tone.BAD, text) for text in found) or (Answer(Tone.GOOD, "nothing"),)
