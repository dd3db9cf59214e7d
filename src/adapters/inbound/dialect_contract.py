"""What every dialect must do, as tests to inherit: fill in a dialect, and who writes it.

Nothing of the service imports this module: it belongs to the kit of `application.testing`, and
stands here since dialects do. Example calls come from the carrier's own description, never from the
decoder, so that a misunderstanding cannot be on both sides.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.inbound.close_codes import CloseCode
from adapters.inbound.dialects import DIALECTS, Decoder, Dialect, UnknownDialect, recognise
from adapters.inbound.dialects.messages import (
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Refusal,
    Refused,
    SignalSaid,
    Start,
    Unknown,
)
from domain.events import EndReason, Signal
from domain.identifiers import InteractionId
from domain.ledger import Ledger
from domain.sequence import MAX_SEQ

KINDS = (Start, BadStart, Audio, SignalSaid, End, Known, Unknown, Refused)
EXAMPLES = 150
DEEP = "[" * 100_000 + "]" * 100_000


class Carrier(ABC):
    """Writes the messages of one call, as the carrier does."""

    sample_rate: int = 8_000
    """The rate of the call, in Hz."""

    hangs_up: bool = False
    """Whether the carrier ends a call by closing the connection, without a message."""

    query: Mapping[str, str] = {}
    """The query string that the connection is opened with."""

    @abstractmethod
    def opening(self) -> Sequence[str | bytes]:
        """Write what comes before the first frame; text messages as `str`."""

    @abstractmethod
    def frame(self, seq: int, audio: bytes) -> str | bytes:
        """Write one frame; `seq` counts from 0."""

    @abstractmethod
    def closing(self, frames: int) -> Sequence[str | bytes]:
        """Write what comes after the last of `frames`."""


class DialectContract:
    """What every `Dialect` must do."""

    @pytest.fixture
    def dialect(self) -> Dialect:
        """Return the dialect. To be filled in."""
        raise NotImplementedError("a contract needs a fixture `dialect`")

    @pytest.fixture
    def carrier(self) -> Carrier:
        """Return who writes a call of the dialect, anew for each test. To be filled in."""
        raise NotImplementedError("a contract needs a fixture `carrier`")

    def test_told_what_it_tolerates_is_told(self, dialect: Dialect) -> None:
        assert dialect.name
        assert dialect.name == dialect.name.strip().lower()
        assert dialect.most_held_before_start >= 0
        most = dialect.most_refused_in_a_row
        assert most is None or most > 0
        assert all(isinstance(code, CloseCode) for code in dialect.never_closed_with)
        assert isinstance(dialect.comes_back, bool)

    def test_recognised_a_written_call_is_its_own_and_no_other_dialects(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        others = [it for it in DIALECTS if it.name != dialect.name]
        first = carrier.opening()[0]
        assert recognise(first, [dialect, *others]) is dialect
        assert recognise(first, [*others, dialect]) is dialect

    def test_read_a_written_call_has_one_start_its_frames_and_an_end(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        audios = [bytes([number, 255 - number]) * 80 for number in range(20)]
        frames = [carrier.frame(seq, audio) for seq, audio in enumerate(audios)]
        messages = [*carrier.opening(), *frames, *carrier.closing(len(frames))]
        decoded = decode_on(dialect, messages, carrier.query)
        (start,) = (it for it in decoded if isinstance(it, Start))
        assert start.media.sample_rate == carrier.sample_rate
        assert [it.audio for it in decoded if isinstance(it, Audio)] == audios
        seqs = [it.seq for it in decoded if isinstance(it, Audio)]
        first = seqs[0]
        assert first is None or seqs == list(range(first, first + len(seqs)))
        assert carrier.hangs_up or isinstance(decoded[-1], End)
        assert not [it for it in decoded if isinstance(it, Refused | Unknown | BadStart)]

    def test_bytes_are_bytes_a_frame_is_read_as_it_was_written(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        every = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTH)
        opening = list(carrier.opening())

        @every
        @given(st.binary(min_size=1, max_size=700))
        def check(half: bytes) -> None:
            audio = half * 2
            found = decode_on(dialect, [*opening, carrier.frame(0, audio)], carrier.query)[-1]
            assert isinstance(found, Audio)
            assert found.audio == audio

        check()

    def test_never_raises_any_text_is_a_message_and_always_the_same(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        every = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTH)

        @every
        @given(texts(carrier))
        def check(text: str) -> None:
            message = decoder_of(dialect).decode_text(text.encode())
            check_message(message)
            assert decoder_of(dialect).decode_text(text.encode()) == message

        check()

    def test_never_raises_any_bytes_are_a_message_and_always_the_same(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        every = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTH)

        @every
        @given(st.binary(max_size=400) | texts(carrier).map(str.encode))
        def check(data: bytes) -> None:
            message = decoder_of(dialect).decode_binary(data)
            check_message(message)
            assert decoder_of(dialect).decode_binary(data) == message

        check()

    def test_never_raises_and_a_frame_is_read_whatever_came_before_it(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        every = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTH)
        opening = list(carrier.opening())

        @every
        @given(st.lists(texts(carrier) | st.binary(max_size=60), max_size=6))
        def check(before: list[str | bytes]) -> None:
            call = [*before, *opening, carrier.frame(7, b"\1\2")]
            found = decode_on(dialect, call, carrier.query)[-1]
            assert isinstance(found, Audio)
            assert found.audio == b"\1\2"

        check()

    def test_recognised_any_object_by_at_most_one_dialect(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        every = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTH)
        dialects = [dialect, *(it for it in DIALECTS if it.name != dialect.name)]

        @every
        @given(objects(carrier))
        def check(first: dict[str, Any]) -> None:
            assert sum(it.recognises(first) for it in dialects) <= 1

        check()

    def test_recognised_each_message_that_may_come_first_is_its_own(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        others = [it for it in DIALECTS if it.name != dialect.name]
        for message in [*carrier.opening(), *carrier.closing(0)]:
            try:
                assert recognise(message, [*others, dialect]) is dialect
            except UnknownDialect:
                continue

    def test_replies_are_json_objects_or_none(self, dialect: Dialect) -> None:
        call = InteractionId("int-123")
        for reply in (
            dialect.started(call, 1, None),
            dialect.started(call, MAX_SEQ, MAX_SEQ),
            dialect.ack(0),
            dialect.error(Refused(Refusal.INVALID_AUDIO, 'why "\u2028')),
            dialect.error(Refused(Refusal.INVALID_SEQ, "why", 7)),
            dialect.ended(call, Ledger()),
        ):
            assert reply is None or isinstance(json.loads(reply), dict)

    def test_apart_a_connection_knows_nothing_of_another(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        messages = [*carrier.opening(), carrier.frame(0, b"\1\2"), *carrier.closing(1)]
        alone = decode_on(dialect, messages, carrier.query)
        decode_on(dialect, [*messages, *messages])
        assert decode_on(dialect, messages, carrier.query) == alone


HEALTH = list(HealthCheck)


def decoder_of(dialect: Dialect, query: Mapping[str, str] | None = None) -> Decoder:
    """Return what reads a new connection."""
    return dialect.decoder(query or {}, _no_remark)


def _no_remark(_: str) -> None:
    """Take what a decoder remarks on a call."""


def decode_on(
    dialect: Dialect, messages: Sequence[str | bytes], query: Mapping[str, str] | None = None
) -> list[Message]:
    """Decode the messages of one connection."""
    reader = decoder_of(dialect, query)
    return [
        reader.decode_text(it.encode()) if isinstance(it, str) else reader.decode_binary(it)
        for it in messages
    ]


def check_message(message: Message) -> None:
    """Check the values of a message, which the types alone do not tell."""
    assert isinstance(message, KINDS)
    match message:
        case Audio(seq, audio):
            assert seq is None or 0 <= seq <= MAX_SEQ
            assert isinstance(audio, bytes)
        case SignalSaid(signal, details):
            assert isinstance(signal, Signal)
            assert isinstance(json.loads(details), dict)
        case End(reason):
            assert isinstance(reason, EndReason)
        case BadStart(explanation):
            assert explanation
        case Refused(refusal, explanation):
            assert isinstance(refusal, Refusal)
            assert explanation


def objects(carrier: Carrier) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects of the names and values that the carrier writes, in any mix."""
    written = [*carrier.opening(), carrier.frame(0, b"\0\0"), *carrier.closing(1)]
    found = [
        inner
        for message in written
        if isinstance(message, str)
        for inner in _objects_in(json.loads(message))
    ]
    names = sorted({name for it in found for name in it} | {"event"})
    events = sorted({it["event"] for it in found if isinstance(it.get("event"), str)}) or ["start"]
    values = [value for it in found for value in it.values()] or [None]
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.sampled_from(values)
    )
    anything = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(names) | st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=8,
    )
    return st.builds(
        lambda fields, event: {**fields, "event": event},
        st.dictionaries(st.sampled_from(names), anything, max_size=6),
        st.sampled_from(events) | anything,
    )


def texts(carrier: Carrier) -> st.SearchStrategy[str]:
    """Draw texts: JSON of the carrier's names, whole and cut off, and anything else."""
    whole = objects(carrier).map(json.dumps)
    cut = whole.flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n]))
    odd = ["", "null", "{}", '{"event":' + DEEP + "}", "9" * 5_000, '{"event":NaN}']
    return st.one_of(st.text(), whole, cut, st.sampled_from(odd))


def _objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects_in(inner)
