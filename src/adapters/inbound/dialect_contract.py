"""What every dialect must do, as tests to inherit: fill in a dialect, and who writes it.

Nothing of the service imports this module: it belongs to the kit of `application.testing`, and
stands here since dialects do. Example calls come from the carrier's own description, never from the
decoder, so that a misunderstanding cannot be on both sides.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.inbound.dialects import (
    DIALECTS,
    Decoder,
    Dialect,
    FirstMessageNotJson,
    Remark,
    UnknownDialect,
    recognise,
)
from application.call.closing import CloseCode
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from domain.events import EndReason, Signal
from domain.identifiers import InteractionId
from domain.ledger import Ledger
from domain.sequence import MAX_SEQ

KINDS = (Start, BadStart, Audio, SignalMessage, End, Known, Unknown, Refused)
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

    examples: int = 150
    """How many messages a property draws."""

    queries: Sequence[Mapping[str, str]] = ({},)
    """Query strings with which anything at all is decoded."""

    def vocabulary(self, carrier: Carrier) -> Sequence[str | bytes]:
        """Return messages whose names and values are mixed to draw others."""
        return written(carrier)

    @property
    def _each(self) -> settings:
        return settings(
            max_examples=self.examples, deadline=None, suppress_health_check=list(HealthCheck)
        )

    @pytest.fixture
    def dialect(self) -> Dialect:
        """Return the dialect. To be filled in."""
        raise NotImplementedError("a contract needs a fixture `dialect`")

    @pytest.fixture
    def carrier(self) -> Carrier:
        """Return who writes a call of the dialect, a new one for each test. To be filled in."""
        raise NotImplementedError("a contract needs a fixture `carrier`")

    def test_told_what_it_tolerates_is_told(self, dialect: Dialect) -> None:
        assert dialect.name
        assert dialect.name == dialect.name.strip().lower()
        assert isinstance(dialect.max_early_messages, int)
        assert dialect.max_early_messages >= 0
        most = dialect.max_refused_in_a_row
        assert most is None or (isinstance(most, int) and most > 0)
        assert isinstance(dialect.never_closed_with, frozenset)
        assert all(isinstance(code, CloseCode) for code in dialect.never_closed_with)
        assert isinstance(dialect.comes_back, bool)
        assert isinstance(dialect.subprotocols, tuple)
        assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", it) for it in dialect.subprotocols)

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
        opening = list(carrier.opening())

        @self._each
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
        @self._each
        @given(texts(self.vocabulary(carrier)), st.sampled_from(self.queries))
        def check(text: str, query: Mapping[str, str]) -> None:
            message = decoder_of(dialect, query).decode_text(text.encode())
            check_message(message)
            assert decoder_of(dialect, query).decode_text(text.encode()) == message

        check()

    def test_never_raises_any_bytes_are_a_message_and_always_the_same(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        some = self.vocabulary(carrier)

        @self._each
        @given(st.binary(max_size=400) | texts(some).map(str.encode) | no_utf8(some))
        def check(data: bytes) -> None:
            message = decoder_of(dialect).decode_binary(data)
            check_message(message)
            assert decoder_of(dialect).decode_binary(data) == message

        check()

    def test_never_raises_and_a_frame_is_read_whatever_came_before_it(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        opening = list(carrier.opening())

        @self._each
        @given(st.lists(texts(self.vocabulary(carrier)) | st.binary(max_size=60), max_size=6))
        def check(before: list[str | bytes]) -> None:
            call = [*before, *opening, carrier.frame(7, b"\1\2")]
            found = decode_on(dialect, call, carrier.query)[-1]
            assert isinstance(found, Audio)
            assert found.audio == b"\1\2"

        check()

    def test_recognised_any_object_by_at_most_one_dialect(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        dialects = [dialect, *(it for it in DIALECTS if it.name != dialect.name)]

        @self._each
        @given(objects(self.vocabulary(carrier)))
        def check(first: dict[str, Any]) -> None:
            recognisers = [it for it in dialects if it.recognises(first)]
            assert len(recognisers) <= 1
            text = json.dumps(first)
            for order in (dialects, dialects[::-1]):
                for form in (text, text.encode()):
                    if recognisers:
                        assert recognise(form, order) is recognisers[0]
                    else:
                        with pytest.raises(UnknownDialect):
                            recognise(form, order)

        check()

    def test_recognised_each_message_that_may_come_first_is_its_own(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        others = [it for it in DIALECTS if it.name != dialect.name]
        for message in written(carrier):
            try:
                assert recognise(message, [*others, dialect]) is dialect
            except (UnknownDialect, FirstMessageNotJson):
                continue

    def test_replies_are_json_objects_or_none(self, dialect: Dialect) -> None:
        call, seqs = InteractionId("int-123"), st.integers(0, MAX_SEQ)

        @self._each
        @given(st.integers(1, MAX_SEQ), seqs, st.text(max_size=20), st.sampled_from(Refusal))
        @example(MAX_SEQ, MAX_SEQ, 'why "\u2028', Refusal.INVALID_AUDIO)
        def check(generation: int, seq: int, explanation: str, refusal: Refusal) -> None:
            for reply in (
                dialect.started(call, generation, None),
                dialect.started(call, generation, seq),
                dialect.ack(seq),
                dialect.error(Refused(refusal, explanation)),
                dialect.error(Refused(refusal, explanation, seq)),
                dialect.ended(call, Ledger()),
            ):
                assert reply is None or isinstance(json.loads(reply), dict)

        check()

    def test_apart_a_connection_knows_nothing_of_another(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        messages = [*carrier.opening(), carrier.frame(0, b"\1\2"), *carrier.closing(1)]
        alone = decode_on(dialect, messages, carrier.query)
        decode_on(dialect, [*messages, *messages])
        assert decode_on(dialect, messages, carrier.query) == alone


def written(carrier: Carrier) -> list[str | bytes]:
    """Return a short call as the carrier writes it."""
    frames = [carrier.frame(seq, bytes([seq, 0])) for seq in range(3)]
    return [*carrier.opening(), *frames, *carrier.closing(3)]


def decoder_of(dialect: Dialect, query: Mapping[str, str] | None = None) -> Decoder:
    """Return what reads a new connection."""
    return dialect.decoder(query or {}, _take_remark)


def _take_remark(remark: str) -> None:
    """Take what a decoder remarks on a call: a text, which is logged."""
    assert remark


def decode_on(
    dialect: Dialect,
    messages: Sequence[str | bytes],
    query: Mapping[str, str] | None = None,
    remark: Remark = _take_remark,
) -> list[Message]:
    """Decode the messages of one connection; `remark` is told what is odd about it."""
    reader = dialect.decoder(query or {}, remark)
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
        case SignalMessage(signal, details):
            assert isinstance(signal, Signal)
            assert isinstance(json.loads(details), dict)
            details.encode()
        case End(reason):
            assert isinstance(reason, EndReason)
        case BadStart(explanation):
            assert explanation
        case Refused(refusal, explanation):
            assert isinstance(refusal, Refusal)
            assert explanation
        case Start(call=call):
            assert all(
                isinstance(text, str)
                for pair in call.custom_parameters.items()
                for text in (*pair, call.caller or "", call.callee or "", call.call_sid or "")
            )


def objects(messages: Sequence[str | bytes]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects of the names and values in messages, in any mix."""
    found = _objects_of(messages)
    names = sorted({name for it in found for name in it} | {"event"})
    events = _events_of(messages)
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


def texts(messages: Sequence[str | bytes]) -> st.SearchStrategy[str]:
    """Draw texts: JSON of the names in messages, whole and cut off, and anything else."""
    whole = objects(messages).map(json.dumps)
    cut = whole.flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n]))
    odd = ["", "null", "{}", '{"event":' + DEEP + "}", "9" * 5_000, '{"event":NaN}']
    return st.one_of(st.text(), whole, cut, st.sampled_from(odd))


def no_utf8(messages: Sequence[str | bytes]) -> st.SearchStrategy[bytes]:
    """Draw JSON with something in it that UTF-8 has not."""
    event = _events_of(messages)[0]
    return st.text(st.characters(categories=["Cs", "Lu"]), max_size=8).map(
        lambda text: f'{{"event":"{event}","x":"{text}"}}'.encode(errors="surrogatepass")
    )


def _events_of(messages: Sequence[str | bytes]) -> list[str]:
    events = {it.get("event") for it in _objects_of(messages)}
    return sorted(it for it in events if isinstance(it, str)) or ["start"]


def _objects_of(messages: Sequence[str | bytes]) -> list[dict[str, Any]]:
    return [
        found
        for message in messages
        if isinstance(message, str)
        for found in _objects_in(json.loads(message))
    ]


def _objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects_in(inner)
