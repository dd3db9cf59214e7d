"""An operator's four questions, answered in words.

    arriving   is audio arriving?      calling   who is calling?
    complete   is it complete?         wrong     what is wrong?

Unknown never counts as good: before the index is read nothing is known, and while the store does
not answer, an answer shows the last known state. Past trouble comes after current trouble, with its
time. The service of a page adds its own facts: incoming audio, outages, refused handshakes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from application.overview import outages
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.service import ServiceReport, all_outages
from application.overview.tally import Tally, Trouble
from application.overview.words import (
    Answer,
    Tone,
    are,
    calls,
    counts,
    duration,
    frames,
    last,
    number_of,
)
from application.ports.clock import Instant

NO_CALLS = "no live calls"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to the four questions, and the store's state; `wrong` is never empty.

    `is_dated`: the calls are shown in their last known state.
    """

    broker: Answer
    arriving: Answer
    complete: Answer
    calling: Answer
    wrong: tuple[Answer, ...]
    is_dated: bool = False


def answer(overview: CallOverview, now: Instant, service: ServiceReport | None = None) -> Answers:
    """Answer the four questions, in one pass over the calls."""
    broker, quiet = _broker(overview, now, service), overview.quiet_seconds(now)
    around = _around(overview, now, service, broker)
    if not overview.has_index:
        nothing = Answer(Tone.UNKNOWN, _nothing_known(overview, now))
        arriving = _with_service(nothing, service) if broker.tone is Tone.BAD else nothing
        return Answers(broker, arriving, nothing, nothing, _in_order([], around, []), is_dated=True)
    tally = Tally(is_away=quiet is not None)
    for call in overview.calls:
        tally.take(call, now)
    arriving, complete, calling = _arriving(tally), _complete(tally, now), _calling(tally)
    if quiet is not None:
        arriving, complete, calling = (
            Answer(Tone.UNKNOWN, f"not known for {duration(quiet)}; last seen: {it.text}")
            for it in (arriving, complete, calling)
        )
        arriving = _with_service(arriving, service)
    present = _present(tally, overview.unfollowed, now, is_away=quiet is not None)
    wrong = _in_order(present, around, _past(tally, now))
    return Answers(broker, arriving, complete, calling, wrong, is_dated=quiet is not None)


def _broker(overview: CallOverview, now: Instant, service: ServiceReport | None) -> Answer:
    quiet, noted = overview.quiet_seconds(now), None if service is None else service.away
    away = overview.away_seconds(now)
    if away is None and noted is not None and (quiet is not None or not overview.has_answered):
        away = 0.0  # the service has noticed it before the view
    if away is not None:
        at_least = "" if overview.has_answered or noted is not None else "at least "
        away = away if noted is None else max(away, noted.seconds(now))
        why = f": {overview.failure}" if overview.failure else ""
        opened = ", since before this view was opened" if at_least else ""
        return Answer(Tone.BAD, f"broker away for {at_least}{duration(away)}{opened}{why}")
    if not overview.has_answered:
        return Answer(Tone.UNKNOWN, "the broker is asked")
    if quiet is not None:
        return Answer(Tone.UNKNOWN, f"the broker has not answered for {duration(quiet)}")
    if not overview.has_index:
        return Answer(Tone.UNKNOWN, "the index of calls is read")
    return Answer(Tone.GOOD, "broker answers")


def _around(
    overview: CallOverview, now: Instant, service: ServiceReport | None, broker: Answer
) -> list[Answer]:
    """Return current and past trouble of the broker, and refused handshakes."""
    found = [] if broker.tone is Tone.GOOD else [broker]
    known = all_outages(overview.outages, service)
    if service is not None:
        if not service.takes_writes and broker.tone is not Tone.BAD:
            away = service.away
            for_long = "" if away is None else f" for {duration(away.seconds(now))}"
            part = "a part of the broker" if away is not None and away.is_partial else "the broker"
            found.append(Answer(Tone.BAD, f"{part} takes no writes of this service{for_long}"))
        if service.refusals is not None:
            found.append(service.refusals)
    past = outages.over(known, now)
    return found if past is None else [*found, past]


def _in_order(
    present: Iterable[str], around: Iterable[Answer], past: Iterable[str]
) -> tuple[Answer, ...]:
    """Return current trouble, unknowns, and then past trouble."""
    found = [*around, *(Answer(Tone.BAD, text) for text in present)]
    found.sort(key=lambda it: (it.tone is not Tone.BAD, it.tone is Tone.PAST))
    found += [Answer(Tone.PAST, text) for text in past]
    if found and found[0].tone is not Tone.PAST:
        return tuple(found)
    return (Answer(Tone.GOOD, "nothing now" if found else "nothing"), *found)


def _with_service(seen: Answer, service: ServiceReport | None) -> Answer:
    """Put the service's incoming audio before the unknown state of the published calls."""
    if service is None:
        return seen
    return Answer(service.arriving.tone, f"{service.arriving.text}; published: {seen.text}")


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
    if tally.unread:
        text += f", {tally.unread:,} cannot be read"
    if tally.conditions[Condition.STILL] or tally.conditions[Condition.CUT] or tally.mute:
        return Answer(Tone.BAD, text)
    is_unknown = unseen + tally.unread == tally.live
    return Answer(Tone.UNKNOWN if is_unknown else Tone.GOOD, text)


def _complete(tally: Tally, now: Instant) -> Answer:
    unseen = tally.conditions[Condition.UNSEEN]
    live, past = tally.absent, tally.past_absent
    if live.calls:
        tone, text = Tone.BAD, f"{_absent(live, 'live ')}, {last(live.last_at, now.monotonic)}"
        if past.calls:
            text += f"; and {_absent(past)} that {are(past.calls)} over"
    elif past.calls:
        tone = Tone.PAST
        now_text = f"nothing missing in {calls(tally.live, 'live ')}" if tally.live else NO_CALLS
        text = f"{now_text}; {_past_absent(past, now)}"
    elif tally.live or tally.over:
        tone = Tone.GOOD
        text = f"nothing missing in {_live_and_over(tally)}"
    else:
        tone, text = Tone.GOOD, NO_CALLS
    if unseen:
        text += f"; {unseen:,} not looked at yet"
    if tally.unread:
        text += f"; {tally.unread:,} cannot be read"
    if unseen + tally.unread == tally.live > 0 and tone is Tone.GOOD:
        tone = Tone.UNKNOWN
    return Answer(tone, text)


def _live_and_over(tally: Tally) -> str:
    if not tally.over:
        return calls(tally.live, "live ")
    if not tally.live:
        return f"{calls(tally.over)} that {are(tally.over)} over"
    return f"{calls(tally.live, 'live ')}, and {tally.over:,} that {are(tally.over)} over"


def _absent(trouble: Trouble, kind: str = "") -> str:
    lost = f", {trouble.lost:,} received and lost," if trouble.lost else ""
    return f"{frames(trouble.missing)} missing{lost} in {calls(trouble.calls, kind)}"


def _past_absent(past: Trouble, now: Instant) -> str:
    return f"{_absent(past)} that {are(past.calls)} over, {last(past.last_at, now.monotonic)}"


def _calling(tally: Tally) -> Answer:
    tenants = tally.tenants
    if not tenants:
        return Answer(Tone.GOOD, "no tenant")
    dialects = "dialect" if len(tally.dialects) == 1 else "dialects"
    text = f"{number_of(len(tenants), 'tenant')}: {counts(tenants)}; {dialects}: "
    return Answer(Tone.GOOD, text + (counts(tally.dialects) or "-"))


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
        text = f"{calls(odd)} that {are(odd)} over, with audio that is not as"
        when = last(tally.past_odd_audio.last_at, now.monotonic)
        found.append(f"{text} it should be: {what}, {when}")
    return found
