from adapters.inbound.close_codes import CloseCode, Closing
from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.dialects.messages import Audio, SignalSaid, Start
from adapters.inbound.prelude import MOST_HELD_BYTES, Prelude
from adapters.outbound.prometheus import PrometheusTelemetry
from domain.events import GoOn, GoOnAbove, Signal
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.media import MAX_FRAME_BYTES, MediaFormat

START = Start(TenantId("t"), InteractionId("i"), StreamId("s"), MediaFormat(8_000), GoOnAbove())


def prelude(dialect: Dialect | None = None) -> Prelude:
    return Prelude(dialect or Agentstream(), PrometheusTelemetry())


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
