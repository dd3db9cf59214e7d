"""The contract of a `Dialect`."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from adapters.inbound.dialects import (
    DIALECTS,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.dialects.description import DialectMessages
from adapters.inbound.handshake import Handshake
from adapters.inbound.testing.carrier import Carrier, written
from adapters.inbound.testing.decoding import check_message, decode_on, decoder_of
from adapters.inbound.testing.drawing import no_utf8, objects, texts
from application.call.closing import CloseCode
from application.call.messages import Audio, BadStart, End, Refusal, Refused, Start, Unknown
from domain.identifiers import InteractionId
from domain.ledger import Ledger
from domain.sequence import MAX_SEQ


class DialectContract:
    """The contract of `Dialect`."""

    examples: int = 150
    """How many messages a property draws."""

    queries: Sequence[Mapping[str, str]] = ({},)
    """Query strings for decoding arbitrary input."""

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
        """Return the dialect. To be implemented."""
        raise NotImplementedError("a contract needs a fixture `dialect`")

    @pytest.fixture
    def carrier(self) -> Carrier:
        """Return a new carrier of the dialect for each test. To be implemented."""
        raise NotImplementedError("a contract needs a fixture `carrier`")

    def test_told_what_it_tolerates_is_told(self, dialect: Dialect) -> None:
        assert dialect.name
        assert re.fullmatch(r"[a-z0-9._-]+", dialect.name)
        assert isinstance(dialect.max_early_messages, int)
        assert dialect.max_early_messages >= 0
        most = dialect.max_refused_in_a_row
        assert most is None or (isinstance(most, int) and most > 0)
        assert isinstance(dialect.never_closed_with, frozenset)
        assert all(isinstance(code, CloseCode) for code in dialect.never_closed_with)
        assert isinstance(dialect.comes_back, bool)
        assert isinstance(dialect.subprotocols, tuple)
        assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", it) for it in dialect.subprotocols)

    def test_described_each_message_has_its_own_name_and_a_schema(self, dialect: Dialect) -> None:
        assert dialect.description
        assert dialect.messages
        told = DialectMessages(dialect)
        names = [told.messages[key]["name"] for key in told.sent]
        assert len(set(names)) == len(names), names

    def test_described_what_a_carrier_writes_is_one_of_the_messages(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        for message in written(carrier):
            assert is_described(message, dialect.messages), message

    def test_recognised_a_written_call_is_its_own_and_no_other_dialects(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        others = [it for it in DIALECTS if it.name != dialect.name]
        first, handshake = carrier.opening()[0], Handshake(query=carrier.query)
        assert recognise(first, handshake, [dialect, *others]) is dialect
        assert recognise(first, handshake, [*others, dialect]) is dialect

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
            *decoded, found = decode_on(dialect, call, carrier.query)
            # A drawn message may be a good start: what comes then belongs to another stream.
            assume(not any(isinstance(it, Start) for it in decoded[: len(before)]))
            assert isinstance(found, Audio)
            assert found.audio == b"\1\2"

        check()

    def test_recognised_any_object_by_at_most_one_dialect(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        dialects = [dialect, *(it for it in DIALECTS if it.name != dialect.name)]
        handshake = Handshake(query=carrier.query)

        @self._each
        @given(objects(self.vocabulary(carrier)))
        def check(first: dict[str, Any]) -> None:
            recognisers = [it for it in dialects if it.recognises(first, handshake)]
            assert len(recognisers) <= 1
            text = json.dumps(first)
            for order in (dialects, dialects[::-1]):
                for form in (text, text.encode()):
                    if recognisers:
                        assert recognise(form, handshake, order) is recognisers[0]
                    else:
                        with pytest.raises(UnknownDialect):
                            recognise(form, handshake, order)

        check()

    def test_recognised_each_message_that_may_come_first_is_its_own(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        others = [it for it in DIALECTS if it.name != dialect.name]
        handshake = Handshake(query=carrier.query)
        for message in written(carrier):
            try:
                assert recognise(message, handshake, [*others, dialect]) is dialect
            except (UnknownDialect, FirstMessageNotJson):
                continue

    def test_replies_are_described_json_objects_or_none(self, dialect: Dialect) -> None:
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
                assert reply is None or is_described(reply, dialect.replies)

        check()

    def test_apart_a_connection_knows_nothing_of_another(
        self, dialect: Dialect, carrier: Carrier
    ) -> None:
        messages = [*carrier.opening(), carrier.frame(0, b"\1\2"), *carrier.closing(1)]
        alone = decode_on(dialect, messages, carrier.query)
        decode_on(dialect, [*messages, *messages])
        assert decode_on(dialect, messages, carrier.query) == alone


def is_described(message: str | bytes, types: Sequence[object]) -> bool:
    """Return whether a message is of one of the types; binary ones may be `bytes`."""
    binary = [it for it in types if it is bytes or bytes in get_args(it)]
    if isinstance(message, bytes) and binary:
        return True
    for kind in types:
        try:
            msgspec.json.decode(message, type=kind)
        except msgspec.MsgspecError:
            continue
        return True
    return False
