"""What a call's time line says happened, and why."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.overview.moments import Kind, Moment, Seen, sorted_by_time
from application.overview.outages import Outage, united
from application.overview.time_line import MAX_LEVELS, MAX_MOMENTS, TimeLine
from application.ports.clock import Instant
from application.ports.reader import PublishedEntry
from application.ports.store import Append
from application.store_kit.storing import entries_of
from application.testing.appends import begin, following
from domain.audio_level import level_of
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.events import EndReason, Signal
from domain.identifiers import StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, Encoding, MediaFormat

KEY = StreamKey(TenantId("demo"), StreamId("call"))
MEDIA = MediaFormat(8_000)
T0 = 1_800_000_000_000
WHOLE = Ledger(received=3, published=3)
LOSING = Ledger(received=9, published=3, lost=6, missing=6)


def seen(
    ledger: Ledger, outages: Sequence[Outage] = (), now_ms: int = 60_000, **named: Any
) -> Seen:
    return Seen(Instant(now_ms / 1_000, T0 + now_ms), ledger, outages, **named)


def frame(seq: int, at_ms: int, audio: bytes = bytes(320)) -> AudioFrame:
    return AudioFrame(MEDIA, seq, T0 + at_ms, audio)


def line(*appends: Append) -> TimeLine:
    made = TimeLine()
    for append in appends:
        for it in entries_of(append):
            made.add(it)
    return made


def test_a_call_without_trouble_has_a_start_and_an_end() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0), frame(1, 20), end=True)
    kinds = [it.kind for it in line(started, spoken).moments(seen(WHOLE))]
    assert kinds == [Kind.STARTED, Kind.ENDED]


def test_a_hole_between_two_frames_is_told_with_its_length() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0), frame(1, 7_020))
    silence = line(started, spoken).moments(seen(WHOLE))[1]
    assert (silence.kind, silence.text) == (Kind.SILENCE, "no audio for 7.0 s")
    assert (silence.at_ms, silence.until_ms) == (T0, T0 + 7_020)


def test_the_time_between_two_runs_is_no_standstill() -> None:
    first = begin(KEY, None)
    spoken = following(first.head, frame(0, 0), end=True)
    second = begin(KEY, spoken.head)
    later = following(second.head, frame(0, 60_000))
    kinds = [it.kind for it in line(first, spoken, second, later).moments(seen(WHOLE))]
    assert sorted(kinds) == [Kind.ENDED, Kind.STARTED, Kind.STARTED]


def test_a_standstill_that_lasts_is_told_last_and_not_of_a_call_that_is_over() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0))
    last = line(started, spoken).moments(seen(WHOLE, still_seconds=7.0))[-1]
    assert (last.kind, last.at_ms, last.text) == (Kind.SILENCE, T0, "no audio for 7.0 s, still")
    ended = line(started, spoken, following(spoken.head, end=True))
    assert ended.moments(seen(WHOLE, still_seconds=7.0))[-1].kind is Kind.ENDED


def test_a_gap_is_not_sent_unless_the_ledger_counts_lost_frames() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0), frame(4, 100))
    made = line(started, spoken)
    gap = made.moments(seen(WHOLE))[1]
    assert (gap.kind, gap.text) == (Kind.GAP, "3 frames missing from seq 1")
    assert gap.cause == "the sender did not send them"
    assert "dropped while buffers were full" in made.moments(seen(LOSING))[1].cause
    outage = Outage(T0 + 50, T0 + 60)
    assert "while the broker was away" in made.moments(seen(LOSING, [outage]))[1].cause
    unseen = made.moments(seen(LOSING, watched_since_ms=T0 + 500))[1].cause
    assert unseen.endswith("is not known: this view was not open then")
    assert (
        "not known" not in made.moments(seen(LOSING, [outage], watched_since_ms=T0 + 500))[1].cause
    )
    assert "not known" not in made.moments(seen(LOSING, watched_since_ms=T0))[1].cause
    elsewhere = Outage(T0 + 200, T0 + 300)
    assert "buffers were full" in made.moments(seen(LOSING, [elsewhere]))[1].cause


def test_a_gap_after_a_resumption_is_what_the_sender_left_out() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0))
    resumed = begin(KEY, spoken.head, resumes=True)
    entries = [*entries_of(started), *entries_of(spoken), *entries_of(resumed)]
    made = TimeLine()
    for number, it in enumerate(entries):
        entry = it.entry
        if number and isinstance(entry, Started):  # a sender that comes back states a later time
            opening = entry.opening
            later = type(opening)(
                opening.stream, opening.interaction_id, opening.dialect, opening.media,
                T0 + 5_000,
            )  # fmt: skip
            entry = Started(entry.generation, entry.run, entry.resumed, later)
        made.add(PublishedEntry(it.generation, it.position, entry))
    made.add(PublishedEntry(2, 3, Gap(1, 9)))
    made.add(PublishedEntry(2, 4, frame(10, 6_000)))
    moments = made.moments(seen(WHOLE))
    kinds = [it.kind for it in moments]
    assert kinds == [Kind.STARTED, Kind.CUT, Kind.GAP, Kind.SILENCE, Kind.RESUMED]
    assert_in_order(moments)
    found = {it.kind: it for it in moments}
    assert (found[Kind.CUT].at_ms, found[Kind.CUT].text) == (T0, "no sender for 5.0 s at most")
    assert found[Kind.RESUMED].text == "generation 2"
    assert found[Kind.GAP].cause.startswith("the sender was cut off")


def test_a_gap_after_a_stream_that_was_written_over_is_what_the_broker_lost() -> None:
    started = begin(KEY, None)
    spoken = following(started.head, frame(0, 0))
    again = begin(KEY, spoken.head, resumes=True)
    (rewritten,) = [it.entry for it in entries_of(again)]
    made = line(started, spoken)
    made.add(PublishedEntry(2, 0, rewritten))
    made.add(PublishedEntry(2, 1, Gap(0, 1)))
    made.add(PublishedEntry(2, 2, frame(1, 20)))
    kinds = {it.kind: it.cause for it in made.moments(seen(WHOLE))}
    assert kinds[Kind.REWRITTEN] == kinds[Kind.GAP] == "the broker had lost the stream"
    newer = line(started, spoken)
    newer.add(PublishedEntry(2, 2, rewritten))
    newer.add(PublishedEntry(2, 3, Gap(1, 1)))
    causes = {it.kind: it.cause for it in newer.moments(seen(WHOLE))}
    assert causes[Kind.GAP] == "the broker had lost what was newest"


def test_an_outage_is_where_it_was() -> None:
    started = begin(KEY, None)
    made = line(started, following(started.head, frame(0, 0), frame(1, 20), frame(9, 9_000)))
    outage = Outage(T0 + 30, T0 + 9_010)
    kinds = [it.kind for it in made.moments(seen(WHOLE, [outage]))]
    assert kinds == [Kind.STARTED, Kind.GAP, Kind.SILENCE, Kind.OUTAGE]
    assert line(started).moments(seen(WHOLE, [Outage(1, 2)]))[0].kind is Kind.STARTED


def test_an_outage_in_which_the_view_was_opened_is_told_as_that() -> None:
    made = line(begin(KEY, None), following(begin(KEY, None).head, frame(0, 0)))

    def outage(*known: Outage) -> Moment:
        moments = made.moments(seen(WHOLE, united(known, max)))
        (found,) = [it for it in moments if it.kind is Kind.OUTAGE]
        return found

    late = Outage(T0 + 20_000, T0 + 32_000, is_seen_late=True)
    told = outage(late)
    assert told.text.startswith("broker away for at least 12 s: it was away when this view was")
    noted = Outage(T0 + 5_000, T0 + 31_000, lost=0)
    assert outage(late, noted).text == "broker away for 27 s"
    assert outage(late, noted).at_ms == T0 + 5_000
    lasting = Outage(T0 + 20_000, is_seen_late=True)
    assert "away for at least 40 s, still: it was away when" in outage(lasting).text
    assert outage(noted, lasting).text == "broker away for 55 s, still"


@pytest.mark.parametrize(
    ("reason", "is_recovered", "cause"),
    [
        (EndReason.DISCONNECTED, False, "the sender was lost"),
        (EndReason.DISCONNECTED, True, "its service process was gone"),
        (EndReason.SHUTDOWN, False, "the service closed it: it stopped"),
        (EndReason.BROKER_LOST, False, "the service closed it: the broker confirmed nothing"),
        (EndReason.TOO_LONG, False, "the service closed it: longer than"),
    ],
)
def test_a_call_that_was_cut_says_when_and_why(
    reason: EndReason, *, is_recovered: bool, cause: str
) -> None:
    started = begin(KEY, None)
    made = line(started, following(started.head, frame(0, 9_000)))
    made.add(PublishedEntry(1, 2, Ended(reason, WHOLE, recovered=is_recovered)))
    moments = made.moments(seen(WHOLE))
    assert [it.kind for it in moments] == [Kind.STARTED, Kind.CUT, Kind.ENDED]
    cut, ended = moments[1:]
    assert (cut.at_ms, cut.cause.startswith(cause)) == (T0 + 9_000, True)
    assert ended.at_ms is None  # the end was written later, and its entry has no time
    assert made.moments(seen(WHOLE, ended_at_ms=T0 + 40_000))[-1].at_ms == T0 + 40_000


def test_a_call_that_the_sender_ended_or_that_was_idle_was_not_cut() -> None:
    for reason in (EndReason.ENDED, EndReason.CALLENDED, EndReason.STOPPED, EndReason.IDLE):
        started = begin(KEY, None)
        made = line(started, following(started.head, frame(0, 9_000)))
        made.add(PublishedEntry(1, 2, Ended(reason, WHOLE)))
        *before, ended = made.moments(seen(WHOLE))
        assert [it.kind for it in before] == [Kind.STARTED]
        assert (ended.at_ms is None) == (reason is EndReason.IDLE) == bool(ended.cause)


def test_a_call_without_its_sender_says_since_when() -> None:
    started = begin(KEY, None)
    made = line(started, following(started.head, frame(0, 9_000)))
    cut = made.moments(seen(WHOLE, is_cut=True, still_seconds=7.0))[-1]
    assert (cut.kind, cut.at_ms) == (Kind.CUT, T0 + 9_000)
    assert cut.text == "no sender, no audio for 7.0 s, still"
    later = made.moments(seen(WHOLE, is_cut=True, still_seconds=7.0, cut_at_ms=T0 + 11_000))[-1]
    assert (later.kind, later.at_ms) == (Kind.CUT, T0 + 11_000)


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 50))),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))),
)
def test_moments_are_in_order_of_time(
    times: list[int | None], pairs: list[tuple[int, int]]
) -> None:
    moments = [
        Moment(Kind.SIGNAL, None if it is None else T0 + it, str(number))
        for number, it in enumerate(times)
    ]
    found = sorted_by_time(moments)
    assert sorted(it.text for it in found) == sorted(it.text for it in moments)
    assert_in_order(found)
    for before, it in pairwise(moments):
        if it.at_ms is None:  # behind all that came before it
            assert found.index(before) < found.index(it)
    outages = united((Outage(since, since + length) for since, length in pairs), max)
    for earlier, later in pairwise(outages):
        assert earlier.until_ms is not None
        assert earlier.until_ms < later.since_ms
    covered = {ms for since, length in pairs for ms in range(since, since + length + 1)}
    united_ms = {ms for it in outages for ms in range(it.since_ms, (it.until_ms or 0) + 1)}
    assert united_ms == covered


def assert_in_order(moments: Sequence[Moment]) -> None:
    times = [it.at_ms for it in moments if it.at_ms is not None]
    assert times == sorted(times)


def test_which_key_was_pressed_is_not_told() -> None:
    started = begin(KEY, None)
    made = line(started)
    made.add(PublishedEntry(1, 1, SignalNoted(Signal.DTMF, '{"digit":"7"}')))
    assert made.moments(seen(WHOLE))[1].text == "dtmf"


def test_it_is_bounded() -> None:
    made = line(begin(KEY, None))
    for number in range(1_000):
        made.add(PublishedEntry(1, 1 + 2 * number, Gap(2 * number, 1)))
        sound = frame(2 * number + 1, number * 1_000, b"\0\x10" * 160)
        made.add(PublishedEntry(1, 2 + 2 * number, sound))
    made.add(PublishedEntry(1, 5_000, Ended(EndReason.ENDED, WHOLE, recovered=True)))
    moments = made.moments(seen(WHOLE))
    assert len(moments) == MAX_MOMENTS + 1
    assert (moments[0].kind, moments[-1].kind) == (Kind.STARTED, Kind.ENDED)
    assert moments[-1].text == "ended, written by another process"
    assert made.left_out == 1_002 - MAX_MOMENTS
    assert len(made.levels) == MAX_LEVELS


def test_a_level_is_that_of_the_samples_in_either_encoding() -> None:
    def level(media: MediaFormat, audio: bytes) -> float:
        return round(level_of(audio, media.encoding).share, 3)

    assert level(MEDIA, bytes(320)) == 0.0
    assert level(MEDIA, b"\x00\x80" * 160) == 1.0
    assert level(MEDIA, b"\x00\x40\x00\xc0" * 8_000) == 0.5
    assert level(MEDIA, b"\x00\x40") == 0.5
    mulaw = MediaFormat(8_000, Encoding.MULAW)
    assert level(mulaw, b"\xff" * 160) == 0.0
    assert level(mulaw, b"\x00" * 160) == round(32_124 / 32_768, 3)
    assert level(mulaw, b"\x80" * 160) == round(32_124 / 32_768, 3)
