import pytest
from bench import CountingTelemetry

from adapters.inbound.close_codes import CloseCode, CloseReason, Closing
from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.dialects.messages import (
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalSaid,
    Start,
)
from adapters.inbound.prelude import MOST_HELD_BYTES, Dropped, Prelude
from application.delivery.byte_budget import MIN_ENTRIES, BufferLimits, ByteBudget
from domain.events import EndReason, GoOn, GoOnAbove, Signal
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.media import MAX_FRAME_BYTES, MediaFormat

START = Start(TenantId("t"), InteractionId("i"), StreamId("s"), MediaFormat(8_000), GoOnAbove())


SECOND = 16_000
"""Bytes of a second of audio at 8 kHz, 16 bits."""

FRAME = Audio(1, bytes(320))
DTMF = SignalSaid(Signal.DTMF, '{"digit":"5"}')


def prelude(dialect: Dialect | None = None, limits: BufferLimits | None = None) -> Prelude:
    telemetry = CountingTelemetry()
    buffer = ByteBudget(limits or BufferLimits(), telemetry)
    return Prelude(dialect or Agentstream(), buffer, telemetry)


def telemetry_of(subject: Prelude) -> CountingTelemetry:
    telemetry = subject._telemetry
    assert isinstance(telemetry, CountingTelemetry)
    return telemetry


def buffered(subject: Prelude) -> int:
    """How much the prelude has told the buffer of all streams that it holds."""
    return subject._budget.held_bytes.unconfirmed


def held(subject: Prelude) -> list[object]:
    found: list[object] = []
    while (message := subject.release()) is not None:
        found.append(message)
    return found


def test_what_comes_before_start_is_held_within_a_bound_of_bytes() -> None:
    subject = prelude()
    frame = Audio(1, bytes(MAX_FRAME_BYTES))
    for _ in range(50):
        assert subject.take(frame) is None
    assert len(held(subject)) == MOST_HELD_BYTES // MAX_FRAME_BYTES


def test_a_frame_that_could_never_be_published_is_not_held() -> None:
    subject = prelude()
    assert subject.take(Audio(1, bytes(MAX_FRAME_BYTES + 2))) is None
    assert held(subject) == []


def test_a_start_that_cannot_be_told_is_tried_again_with_the_first_frame_only() -> None:
    subject = prelude()
    assert subject.take(START) == START
    assert subject.take(SignalSaid(Signal.DTMF, "{}")) is None
    start = subject.take(Audio(7, b"ab"))
    assert isinstance(start, Start)
    assert start.continuation == GoOnAbove(7)
    assert held(subject) == [SignalSaid(Signal.DTMF, "{}"), Audio(7, b"ab")]


def test_a_frame_without_a_number_goes_on() -> None:
    subject = prelude()
    subject.take(START)
    start = subject.take(Audio(None, b"ab"))
    assert isinstance(start, Start)
    assert start.continuation == GoOn()


def test_a_dialect_that_holds_nothing_before_start_may_wait_for_the_first_frame_after_it() -> None:
    subject = prelude(Exostreamkit())
    assert subject.take(START) == START
    start = subject.take(Audio(7, b"ab"))
    assert isinstance(start, Start)
    assert start.continuation == GoOnAbove(7)


def test_a_dialect_that_holds_nothing_before_start_closes_on_the_first_frame() -> None:
    closing = prelude(Exostreamkit()).take(Audio(7, b"ab"))
    assert isinstance(closing, Closing)
    assert closing.code is CloseCode.BAD_START


def test_before_the_start_nothing_is_full_and_few_frames_are_held() -> None:
    subject = prelude(limits=BufferLimits(buffer_bytes=320))
    for _ in range(Agentstream.most_held_before_start + 5):
        subject.take(FRAME)
        assert not subject.is_full
    assert len(held(subject)) == Agentstream.most_held_before_start
    assert telemetry_of(subject).counted == {
        ("received", ""): 5,
        ("rejected", Refusal.UNEXPECTED_EVENT): 5,
    }


def test_after_the_start_frames_are_held_in_any_number_until_a_stream_would_be_full() -> None:
    subject = prelude(limits=BufferLimits(buffer_seconds=2))
    subject.take(START)
    for _ in range(2 * SECOND // 320):
        assert not subject.is_full
        subject.take(FRAME)
    assert subject.is_full
    assert buffered(subject) == 2 * SECOND
    assert telemetry_of(subject).total("rejected") == 0


def test_after_the_start_frames_may_be_as_large_as_they_like() -> None:
    """Whether they are too large is judged, and answered, when the stream is started."""
    subject = prelude()
    subject.take(START)
    frame = Audio(1, bytes(MAX_FRAME_BYTES + 2))
    subject.take(frame)
    assert held(subject) == [frame]


def test_small_frames_fill_it_by_their_number() -> None:
    subject = prelude(limits=BufferLimits(buffer_seconds=1))
    subject.take(START)
    for _ in range(MIN_ENTRIES):
        assert not subject.is_full
        subject.take(Audio(1, b"ab"))
    assert subject.is_full


def test_it_is_full_when_all_streams_together_are() -> None:
    subject = prelude(limits=BufferLimits(buffer_bytes=1_000))
    subject.take(START)
    subject._budget.add(1_000)
    assert subject.is_full
    subject._budget.add(-1)
    assert not subject.is_full


def test_when_it_is_full_only_what_was_read_already_and_the_end_are_still_taken() -> None:
    subject = prelude(limits=BufferLimits(buffer_bytes=320))
    subject.take(START)
    subject.take(FRAME)
    assert subject.is_full
    said: list[Message] = [FRAME, DTMF, START, End(EndReason.ENDED)]
    for message in said:
        subject.take(message)
    assert held(subject) == [FRAME, FRAME, End(EndReason.ENDED)]
    assert subject.take_dropped().refused == {Refusal.UNEXPECTED_EVENT: 1}
    assert telemetry_of(subject).ignored_messages == {"no_room": 1}


def test_what_is_refused_after_the_start_is_said_again_in_its_place() -> None:
    subject = prelude()
    subject.take(START)
    said: list[Message] = [FRAME, START, BadStart("no"), DTMF, End(EndReason.ENDED)]
    for message in said:
        subject.take(message)
    again = Refused(Refusal.UNEXPECTED_EVENT, "the stream is started already")
    assert held(subject) == [FRAME, again, again, DTMF, End(EndReason.ENDED)]


@pytest.mark.parametrize("has_started", [True, False])
def test_what_is_held_counts_for_the_buffer_until_it_is_released(has_started: bool) -> None:
    subject = prelude()
    if has_started:
        subject.take(START)
    for message in (FRAME, DTMF, FRAME, Audio(None, b"")):
        subject.take(message)
    sizes = [320, len(DTMF.details), 320, 0]
    for released in range(len(sizes)):
        assert buffered(subject) == sum(sizes[released:])
        assert subject.release() is not None
    assert buffered(subject) == 0
    assert subject.release() is None


def test_what_is_discarded_counts_no_more() -> None:
    subject = prelude()
    subject.take(START)
    for message in (FRAME, DTMF, End(EndReason.ENDED)):
        subject.take(message)
    subject.discard()
    assert held(subject) == []
    assert buffered(subject) == 0
    subject.take(FRAME)
    assert held(subject) == [FRAME]


def test_all_that_was_said_is_counted_when_it_is_discarded_and_only_once() -> None:
    subject = prelude(limits=BufferLimits(buffer_bytes=320))
    subject.take(START)
    for message in (FRAME, Refused(Refusal.INVALID_AUDIO, "why"), START):
        subject.take(message)
    for seq in (2, 3, 3):
        subject.drop(seq)
    for _ in range(2):
        subject.discard()
        counted = telemetry_of(subject).counted
        assert counted == {
            ("received", ""): 6,
            ("lost", "not_started"): 3,
            ("duplicate", ""): 1,
            ("rejected", "invalid_audio"): 1,
            ("rejected", "unexpected_event"): 1,
        }


def test_nothing_is_lost_of_a_sender_that_is_refused() -> None:
    subject = prelude(limits=BufferLimits(buffer_bytes=320))
    subject.take(START)
    for message in (FRAME, Refused(Refusal.INVALID_AUDIO, "why")):
        subject.take(message)
    for seq in (2, 3, 3):
        subject.drop(seq)
    for _ in range(2):
        subject.discard(refused_for=CloseReason.NOT_ALLOWED)
        subject.discard()
        assert telemetry_of(subject).counted == {
            ("received", ""): 5,
            ("rejected", "not_allowed"): 3,
            ("duplicate", ""): 1,
            ("rejected", "invalid_audio"): 1,
        }


def test_what_is_dropped_is_counted_as_the_run_will_count_it() -> None:
    subject = prelude()
    subject.take(START)
    subject.take(FRAME)
    assert FRAME.seq == 1
    for seq in (3, 1, 5, 5, None, 4):
        subject.drop(seq)
    assert subject.take_dropped() == Dropped(
        frames=3, first_seq=3, last_seq=6, highest_seq=6, duplicates=3
    )
    assert held(subject) == [FRAME]


def test_dropped_frames_without_numbers_have_none() -> None:
    dropped = Dropped()
    dropped.drop(None)
    dropped.drop(None)
    assert dropped == Dropped(frames=2)


def test_a_flood_of_starts_and_stops_behind_a_start_takes_no_memory() -> None:
    subject = prelude()
    subject.take(START)
    for _ in range(20_000):
        subject.take(START)
        subject.take(BadStart("x" * 1_000))
        subject.take(End(EndReason.ENDED))
    kept = held(subject)
    refused = [it for it in kept if isinstance(it, Refused)]
    assert all(it.refusal is Refusal.UNEXPECTED_EVENT for it in refused)
    dropped = subject.take_dropped()
    assert len(refused) + dropped.refused[Refusal.UNEXPECTED_EVENT] == 40_000
    assert kept.count(End(EndReason.ENDED)) == 1
    assert len(kept) <= BufferLimits().stream_entries + 1


def test_nothing_is_lost_of_a_sender_that_never_started() -> None:
    subject = prelude()
    for message in (FRAME, FRAME):
        subject.take(message)
    for _ in range(2):
        subject.discard()
        assert telemetry_of(subject).counted == {
            ("received", ""): 2,
            ("rejected", "no_start"): 2,
        }
