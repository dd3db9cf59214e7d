"""An operator's four questions, answered in words.

    arriving   is audio arriving?      calling   who is calling?
    complete   is it complete?         wrong     what is wrong?

What is not known is not good: before the index is read nothing is known, and while the store is
away an answer is what was seen last. Trouble of calls that are over stands behind the rest, and
says when it was.
"""

from dataclasses import dataclass

from application.overview.call import Condition
from application.overview.call_overview import CallOverview
from application.overview.tally import Tally, Trouble
from application.overview.words import Answer, Tone, calls, counts, duration, frames, last
from application.ports.clock import Instant

NO_CALLS = "no live calls"


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
    broker = _broker(overview, now)
    if not overview.has_index:
        nothing = Answer(Tone.UNKNOWN, _nothing_known(overview, now))
        return Answers(broker, nothing, nothing, nothing, (broker,))
    tally = Tally()
    for call in overview.calls:
        tally.take(call, now)
    arriving, complete, calling = _arriving(tally), _complete(tally, now), _calling(tally)
    away = overview.away_seconds(now)
    if away is not None:
        arriving, complete, calling = (
            Answer(Tone.UNKNOWN, f"not known for {duration(away)}; last seen: {it.text}")
            for it in (arriving, complete, calling)
        )
    return Answers(
        broker, arriving, complete, calling, _wrong(tally, broker, overview.unfollowed, now)
    )


def _broker(overview: CallOverview, now: Instant) -> Answer:
    away = overview.away_seconds(now)
    if away is not None:
        why = f": {overview.failure}" if overview.failure else ""
        since = "" if overview.has_answered else ", since this view was opened"
        return Answer(Tone.BAD, f"broker away for {duration(away)}{since}{why}")
    if not overview.has_answered:
        return Answer(Tone.UNKNOWN, "the broker is asked")
    if not overview.has_index:
        return Answer(Tone.UNKNOWN, "the index of calls is read")
    return Answer(Tone.GOOD, "broker answers")


def _nothing_known(overview: CallOverview, now: Instant) -> str:
    if overview.opened_at is None:
        return "nothing is known yet"
    waits = duration(max(0.0, now.monotonic - overview.opened_at.monotonic))
    return f"nothing is known yet: this view has waited for {waits}"


def _arriving(tally: Tally) -> Answer:
    if tally.live == 0:
        return Answer(Tone.GOOD, NO_CALLS)
    flowing, unseen = tally.conditions[Condition.FLOWING], tally.conditions[Condition.UNSEEN]
    rate = "-" if flowing and tally.rate is None else f"{tally.rate or 0.0:,.0f}"
    text = f"{flowing:,} of {calls(tally.live)} with audio, {rate} frames/s"
    if unseen:
        text += f", {unseen:,} not looked at yet"
    if tally.conditions[Condition.STILL] or tally.conditions[Condition.CUT] or tally.mute:
        return Answer(Tone.BAD, text)
    return Answer(Tone.UNKNOWN if unseen == tally.live else Tone.GOOD, text)


def _complete(tally: Tally, now: Instant) -> Answer:
    unseen = tally.conditions[Condition.UNSEEN]
    live, past = tally.absent, tally.past_absent
    if live.calls:
        tone, text = Tone.BAD, f"{_absent(live, 'live ')}, {last(live.last_at, now.monotonic)}"
        if past.calls:
            text += f"; and {_absent(past)} that {_are(past)} over"
    elif past.calls:
        tone = Tone.PAST
        now_text = f"nothing missing in {calls(tally.live, 'live ')}" if tally.live else NO_CALLS
        text = f"{now_text}; {_past_absent(past, now)}"
    elif tally.live or tally.over:
        tone = Tone.GOOD
        text = f"nothing missing in {calls(tally.live)}, and {tally.over} that are over"
    else:
        tone, text = Tone.GOOD, NO_CALLS
    if unseen:
        text += f"; {unseen:,} not looked at yet"
        tone = Tone.UNKNOWN if unseen == tally.live and tone is Tone.GOOD else tone
    return Answer(tone, text)


def _absent(trouble: Trouble, kind: str = "") -> str:
    lost = f", {trouble.lost:,} received and lost," if trouble.lost else ""
    return f"{frames(trouble.missing)} missing{lost} in {calls(trouble.calls, kind)}"


def _past_absent(past: Trouble, now: Instant) -> str:
    return f"{_absent(past)} that {_are(past)} over, {last(past.last_at, now.monotonic)}"


def _are(trouble: Trouble) -> str:
    return "is" if trouble.calls == 1 else "are"


def _calling(tally: Tally) -> Answer:
    tenants = tally.tenants
    if not tenants:
        return Answer(Tone.GOOD, "no tenant")
    count = f"{len(tenants):,} tenant" + ("" if len(tenants) == 1 else "s")
    text = f"{count}: {counts(tenants)}; dialects: {counts(tally.dialects) or '-'}"
    return Answer(Tone.GOOD, text)


def _wrong(tally: Tally, broker: Answer, unfollowed: int, now: Instant) -> tuple[Answer, ...]:
    """Return what is wrong now, and behind it what was."""
    present = [broker.text] if broker.tone is Tone.BAD else []
    present += _present(tally, unfollowed, now, is_away=bool(present))
    past = [Answer(Tone.PAST, text) for text in _past(tally, now)]
    if present:
        return (*(Answer(Tone.BAD, text) for text in present), *past)
    return (Answer(Tone.GOOD, "nothing now" if past else "nothing"), *past)


def _present(tally: Tally, unfollowed: int, now: Instant, *, is_away: bool) -> list[str]:
    found = []
    if not is_away and (still := tally.conditions[Condition.STILL]):
        longest = f"the longest for {duration(tally.still_seconds)}"
        found.append(f"{calls(still)} without audio, {longest}")
    if not is_away and tally.mute:
        longest = f"the longest for {duration(tally.mute_seconds)}"
        found.append(f"{calls(tally.mute)} started, and no audio yet, {longest}")
    if tally.absent.calls:
        when = last(tally.absent.last_at, now.monotonic)
        found.append(f"{_absent(tally.absent, 'live ')}, {when}")
    if cut := tally.conditions[Condition.CUT]:
        found.append(f"{calls(cut)} cut, until the sender comes back")
    if tally.late:
        found.append(f"{calls(tally.late)} published late, up to {tally.latest_ms / 1_000:.1f} s")
    if odd := tally.odd_audio.calls:
        what = counts(tally.odd_audio.names)
        found.append(f"{calls(odd)} with audio that is not as it should be: {what}")
    if tally.unread:
        found.append(f"{calls(tally.unread)} cannot be read")
    if unfollowed:
        found.append(f"{calls(unfollowed)} more than can be followed")
    return found


def _past(tally: Tally, now: Instant) -> list[str]:
    found = []
    if tally.past_absent.calls:
        found.append(_past_absent(tally.past_absent, now))
    if gone := tally.gone.calls:
        text = f"{calls(gone)} gone from the store without an end"
        found.append(f"{text}, {last(tally.gone.last_at, now.monotonic)}")
    if ends := tally.odd_ends.calls:
        text = f"{calls(ends)} ended otherwise than by the sender: {counts(tally.odd_ends.names)}"
        found.append(f"{text}, {last(tally.odd_ends.last_at, now.monotonic)}")
    if odd := tally.past_odd_audio.calls:
        what = counts(tally.past_odd_audio.names)
        text = f"{calls(odd)} that {_are(tally.past_odd_audio)} over, with audio that is not as"
        when = last(tally.past_odd_audio.last_at, now.monotonic)
        found.append(f"{text} it should be: {what}, {when}")
    return found
