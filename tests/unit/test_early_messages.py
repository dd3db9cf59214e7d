"""What is held of a stream before its start is granted, and how what is not held is counted."""

import pytest
from counting_telemetry import CountingTelemetry

from application.call.early_messages import MAX_BYTES_BEFORE_START, Dropped, EarlyMessages
from application.call.messages import (
    STARTED_ALREADY,
    Audio,
    End,
    Message,
    Refusal,
    Refused,
    SignalMessage,
)
from application.delivery.byte_budget import EARLY_SHARE, MIN_ENTRIES, BufferLimits, ByteBudget
from application.ports.clock import Instant
from domain.events import EndReason, Signal
from domain.media import MAX_FRAME_BYTES, MediaFormat

MAX_BEFORE_START = 50
START = MediaFormat(8_000)

SECOND = 16_000
"""Bytes of a second of audio at 8 kHz, 16 bits."""

HEARD = Instant(7.0, 1_700_000_000_000)

FRAME = Audio(1, bytes(320))
DTMF = SignalMessage(Signal.DTMF, '{"digit":"5"}')


def early(limits: BufferLimits | None = None) -> EarlyMessages:
    telemetry = CountingTelemetry()
    budget = ByteBudget(limits or BufferLimits(), telemetry)
    return EarlyMessages(MAX_BEFORE_START, budget, telemetry)


def take(subject: EarlyMessages, *messages: Message | MediaFormat) -> None:
    """Take messages as a stream does: its format, when it is started, and what comes after it."""
    for message in messages:
        match message:
            case MediaFormat():
                subject.note_start(message)
            case End():
                subject.hold_end(message, HEARD)
            case Audio() | SignalMessage() | Refused():
                subject.hold(message, HEARD)
            case _:
                raise AssertionError


def telemetry_of(subject: EarlyMessages) -> CountingTelemetry:
    telemetry = subject._telemetry
    assert isinstance(telemetry, CountingTelemetry)
    return telemetry


def buffered(subject: EarlyMessages) -> int:
    """How much they have told the buffer of all streams that they hold."""
    return subject._budget.held_bytes.unconfirmed


def held(subject: EarlyMessages) -> list[object]:
    found: list[object] = []
    while (one := subject.release()) is not None:
        message, heard = one
        assert heard == HEARD
        found.append(message)
    return found


def test_what_comes_before_start_is_held_within_a_bound_of_bytes() -> None:
    subject = early()
    frame = Audio(1, bytes(MAX_FRAME_BYTES))
    for _ in range(50):
        take(subject, frame)
    assert len(held(subject)) == MAX_BYTES_BEFORE_START // MAX_FRAME_BYTES


def test_a_frame_that_could_never_be_published_is_not_held() -> None:
    subject = early()
    take(subject, Audio(1, bytes(MAX_FRAME_BYTES + 2)))
    assert held(subject) == []


def test_before_the_start_nothing_is_full_and_few_frames_are_held() -> None:
    subject = early(limits=BufferLimits(buffer_bytes=EARLY_SHARE * MAX_BEFORE_START * 320))
    for _ in range(MAX_BEFORE_START + 5):
        take(subject, FRAME)
        assert not subject.is_full
    assert len(held(subject)) == MAX_BEFORE_START
    assert telemetry_of(subject).counted == {
        ("received", ""): 5,
        ("rejected", Refusal.UNEXPECTED_EVENT): 5,
    }


def test_signals_beyond_the_bound_are_ignored_and_are_no_frames() -> None:
    subject = early()
    for _ in range(MAX_BEFORE_START + 2):
        take(subject, SignalMessage(Signal.DTMF, "{}"))
    assert len(held(subject)) == MAX_BEFORE_START
    assert telemetry_of(subject).ignored_messages == {"back_pressure": 2}
    assert telemetry_of(subject).counted == {}


def test_after_the_start_frames_are_held_in_any_number_until_a_stream_would_be_full() -> None:
    subject = early(limits=BufferLimits(buffer_seconds=2))
    take(subject, START)
    for _ in range(2 * SECOND // 320):
        assert not subject.is_full
        take(subject, FRAME)
    assert subject.is_full
    assert buffered(subject) == 2 * SECOND
    assert telemetry_of(subject).total("rejected") == 0


def test_after_the_start_frames_may_be_as_large_as_they_like() -> None:
    """Whether they are too large is judged, and answered, when the stream is started."""
    subject = early()
    take(subject, START)
    frame = Audio(1, bytes(MAX_FRAME_BYTES + 2))
    take(subject, frame)
    assert held(subject) == [frame]


def test_small_frames_fill_it_by_their_number() -> None:
    subject = early(limits=BufferLimits(buffer_seconds=1))
    take(subject, START)
    for _ in range(MIN_ENTRIES):
        assert not subject.is_full
        take(subject, Audio(1, b"ab"))
    assert subject.is_full


def test_it_is_full_when_all_streams_together_are() -> None:
    subject = early(limits=BufferLimits(buffer_bytes=1_000))
    take(subject, START)
    subject._budget.add(1_000)
    assert subject.is_full
    subject._budget.add(-1)
    assert not subject.is_full


def test_when_it_is_full_only_what_was_read_already_and_the_end_are_still_taken() -> None:
    subject = early(limits=BufferLimits(buffer_bytes=320))
    take(subject, START)
    take(subject, FRAME)
    assert subject.is_full
    sent: list[Message] = [FRAME, DTMF, STARTED_ALREADY, End(EndReason.ENDED)]
    for message in sent:
        take(subject, message)
    assert held(subject) == [FRAME, FRAME, End(EndReason.ENDED)]
    assert subject.take_dropped().refused == {Refusal.UNEXPECTED_EVENT: 1}
    assert telemetry_of(subject).ignored_messages == {"back_pressure": 1}


def test_what_is_refused_after_the_start_is_held_in_its_place() -> None:
    subject = early()
    take(subject, START)
    sent: list[Message] = [FRAME, STARTED_ALREADY, DTMF, End(EndReason.ENDED)]
    for message in sent:
        take(subject, message)
    assert held(subject) == sent


@pytest.mark.parametrize("has_started", [True, False])
def test_what_is_held_counts_for_the_buffer_until_it_is_released(has_started: bool) -> None:
    subject = early()
    if has_started:
        take(subject, START)
    for message in (FRAME, DTMF, FRAME, Audio(None, b"")):
        take(subject, message)
    sizes = [320, len(DTMF.details), 320, 0]
    for released in range(len(sizes)):
        assert buffered(subject) == sum(sizes[released:])
        assert subject.release() is not None
    assert buffered(subject) == 0
    assert subject.release() is None


def test_what_is_discarded_counts_no_more() -> None:
    subject = early()
    take(subject, START)
    for message in (FRAME, DTMF, End(EndReason.ENDED)):
        take(subject, message)
    subject.discard(refused_for=None)
    assert held(subject) == []
    assert buffered(subject) == 0
    take(subject, FRAME)
    assert held(subject) == [FRAME]


def test_all_that_was_sent_is_counted_when_it_is_discarded_and_only_once() -> None:
    subject = early(limits=BufferLimits(buffer_bytes=320))
    take(subject, START)
    for message in (FRAME, Refused(Refusal.INVALID_AUDIO, "why"), STARTED_ALREADY):
        take(subject, message)
    for seq in (2, 3, 3):
        subject.drop(Audio(seq, b"ab"))
    for _ in range(2):
        subject.discard(refused_for=None)
        counted = telemetry_of(subject).counted
        assert counted == {
            ("received", ""): 6,
            ("lost", "not_started"): 3,
            ("duplicate", ""): 1,
            ("rejected", "invalid_audio"): 1,
            ("rejected", "unexpected_event"): 1,
        }


def test_nothing_is_lost_of_a_sender_that_is_refused() -> None:
    subject = early(limits=BufferLimits(buffer_bytes=320))
    take(subject, START)
    for message in (FRAME, Refused(Refusal.INVALID_AUDIO, "why")):
        take(subject, message)
    for seq in (2, 3, 3):
        subject.drop(Audio(seq, b"ab"))
    for _ in range(2):
        subject.discard(refused_for="not_allowed")
        subject.discard(refused_for=None)
        assert telemetry_of(subject).counted == {
            ("received", ""): 5,
            ("rejected", "not_allowed"): 3,
            ("duplicate", ""): 1,
            ("rejected", "invalid_audio"): 1,
        }


def test_what_is_dropped_is_counted_as_the_run_will_count_it() -> None:
    subject = early()
    take(subject, START)
    take(subject, FRAME)
    assert FRAME.seq == 1
    for seq in (3, 1, 5, 5, None, 4):
        subject.drop(Audio(seq, b"ab"))
    assert subject.take_dropped() == Dropped(
        frames=3, first_seq=3, last_seq=6, highest_seq=6, duplicates=3
    )
    assert held(subject) == [FRAME]


def test_a_frame_that_would_be_refused_is_refused_and_not_dropped() -> None:
    subject = early()
    take(subject, START)
    for seq, audio in enumerate([b"ab", b"odd", b"", bytes(MAX_FRAME_BYTES + 2), b"cd"]):
        subject.drop(Audio(seq, audio))
    dropped = subject.take_dropped()
    assert (dropped.frames, dropped.first_seq, dropped.last_seq) == (2, 0, 4)
    assert dropped.refused == {Refusal.INVALID_AUDIO: 2, Refusal.FRAME_TOO_LARGE: 1}


@pytest.mark.parametrize("seq", [7, None])
def test_the_first_frame_is_known_although_it_is_dropped(seq: int | None) -> None:
    subject = early()
    take(subject, START, DTMF)
    assert subject.first_audio is None
    subject.drop(DTMF)
    assert subject.first_audio is None
    subject.drop(Audio(seq, b"ab"))
    take(subject, Audio(9, b"ab"))
    assert subject.first_audio is not None
    assert subject.first_audio.seq == seq


def test_dropped_frames_without_numbers_have_none() -> None:
    dropped = Dropped()
    dropped.drop(None)
    dropped.drop(None)
    assert dropped == Dropped(frames=2)


def test_a_flood_of_starts_and_stops_after_a_start_takes_no_memory() -> None:
    subject = early()
    take(subject, START)
    for _ in range(20_000):
        take(subject, STARTED_ALREADY, STARTED_ALREADY)
        take(subject, End(EndReason.ENDED))
    kept = held(subject)
    refused = [it for it in kept if isinstance(it, Refused)]
    assert all(it.refusal is Refusal.UNEXPECTED_EVENT for it in refused)
    dropped = subject.take_dropped()
    assert len(refused) + dropped.refused[Refusal.UNEXPECTED_EVENT] == 40_000
    assert kept.count(End(EndReason.ENDED)) == 1
    assert len(kept) <= BufferLimits().stream_entries + 1


def test_nothing_is_lost_of_a_sender_that_never_started() -> None:
    subject = early()
    for message in (FRAME, FRAME):
        take(subject, message)
    for _ in range(2):
        subject.discard(refused_for="no_start")
        assert telemetry_of(subject).counted == {
            ("received", ""): 2,
            ("rejected", "no_start"): 2,
        }


def test_calls_that_have_not_started_take_a_part_of_the_buffer_and_no_more() -> None:
    telemetry = CountingTelemetry()
    budget = ByteBudget(BufferLimits(buffer_bytes=EARLY_SHARE * SECOND), telemetry)
    subjects = [EarlyMessages(MAX_BEFORE_START, budget, telemetry) for _ in range(4)]
    for subject in subjects:
        take(subject, *[FRAME] * MAX_BEFORE_START)
    assert budget.held_bytes.unconfirmed == SECOND
    assert telemetry.counted["rejected", Refusal.UNEXPECTED_EVENT] == 3 * MAX_BEFORE_START
    take(subjects[0], START)  # what it holds is of a call that has started
    take(subjects[1], *[FRAME] * MAX_BEFORE_START)
    assert budget.held_bytes.unconfirmed == 2 * SECOND
    subjects[1].discard(refused_for=None)
    take(subjects[2], *[FRAME] * MAX_BEFORE_START)
    assert budget.held_bytes.unconfirmed == 2 * SECOND
    for subject in subjects:
        subject.discard(refused_for=None)
    assert budget.held_bytes.unconfirmed == 0
    assert budget.takes_early(SECOND)
    assert not budget.takes_early(SECOND + 1)
