"""What every dialect must do, run over the register and without being told of a dialect.

What a dialect's messages look like is taken from the carrier that writes them (`WIRES`, which
shares no code with the decoders), so that a misunderstanding cannot be on both sides.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.inbound.close_codes import CloseCode
from adapters.inbound.dialects import (
    DIALECTS,
    Dialect,
    FirstMessageNotJson,
    Remark,
    UnknownDialect,
    recognise,
)
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
from domain.media import SAMPLE_RATES_HZ
from domain.sequence import MAX_SEQ
from entrypoints.carrier.wire import WIRES, Call, Wire

KINDS = (Start, BadStart, Audio, SignalSaid, End, Known, Unknown, Refused)
QUERIES: tuple[dict[str, str], ...] = ({}, {"sample-rate": "16000", "x": ""})
DEEP = "[" * 100_000 + "]" * 100_000

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def wire_of(dialect: Dialect, sample_rate: int = 8_000, interaction: str = "int-123") -> Wire:
    """Return what the dialect's carrier writes a call with."""
    return WIRES[dialect.name](Call("tenant-abc", interaction, sample_rate))


def written(dialect: Dialect) -> list[str | bytes]:
    """Return a short call as the dialect's carrier writes it."""
    wire = wire_of(dialect)
    return [
        *wire.opening(),
        *(wire.frame(seq, bytes([seq, 0])) for seq in range(3)),
        *wire.closing(3),
    ]


def ignore_remark(remark: str) -> None:
    assert remark


def refuse_remark(remark: str) -> None:
    raise AssertionError(remark)


def decode_on(
    dialect: Dialect,
    messages: list[str | bytes],
    query: str = "",
    remark: Remark = refuse_remark,
) -> list[Message]:
    """Decode the messages of one connection; nothing is odd about it unless that is told."""
    reader = dialect.decoder(dict(parse_qsl(query)), remark)
    return [
        reader.decode_text(message.encode())
        if isinstance(message, str)
        else reader.decode_binary(message)
        for message in messages
    ]


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a JSON object and those in it."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects_in(inner)


OBJECTS = [
    found
    for dialect in DIALECTS
    for message in written(dialect)
    if isinstance(message, str)
    for found in objects_in(json.loads(message))
]
NAMES = sorted({name for found in OBJECTS for name in found})
EVENTS = sorted({found["event"] for found in OBJECTS if "event" in found})
VALUES = [value for found in OBJECTS for value in found.values()]

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
MIXED = st.builds(
    lambda fields, event: {**fields, "event": event},
    st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=6),
    st.sampled_from(EVENTS) | JSON_VALUES,
)
"""Objects of the keys and values of all dialects, in any mix."""

TEXTS = st.one_of(
    st.text(),
    MIXED.map(json.dumps),
    JSON_VALUES.map(json.dumps),
    MIXED.map(json.dumps).flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n])),
    st.sampled_from(["", "null", "{}", '{"event":' + DEEP + "}", "9" * 5_000, '{"event":NaN}']),
)

NO_TEXTS = st.text(st.characters(categories=["Cs", "Lu"]), max_size=8).map(
    lambda text: f'{{"event":"{EVENTS[0]}","x":"{text}"}}'.encode(errors="surrogatepass")
)
"""JSON with something in it that UTF-8 has not."""


def test_the_names_are_unique() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert len(set(names)) == len(names)


@every_dialect
def test_there_is_a_carrier_that_writes_it(dialect: Dialect) -> None:
    assert dialect.name in WIRES


@every_dialect
def test_what_it_puts_up_with_is_told(dialect: Dialect) -> None:
    assert dialect.name
    assert dialect.name == dialect.name.strip().lower()
    assert isinstance(dialect.most_held_before_start, int)
    assert dialect.most_held_before_start >= 0
    most = dialect.most_refused_in_a_row
    assert most is None or (isinstance(most, int) and most > 0)
    assert isinstance(dialect.never_closed_with, frozenset)
    assert all(isinstance(code, CloseCode) for code in dialect.never_closed_with)


@every_dialect
@pytest.mark.parametrize("sample_rate", sorted(SAMPLE_RATES_HZ))
def test_a_written_call_is_recognised_and_read(dialect: Dialect, sample_rate: int) -> None:
    wire = wire_of(dialect, sample_rate)
    opening = wire.opening()
    assert recognise(opening[0], DIALECTS) is dialect
    decoded = decode_on(dialect, [*opening, *wire.closing(0)], wire.query)
    starts = [message for message in decoded if isinstance(message, Start)]
    assert len(starts) == 1
    assert starts[0].tenant_id == "tenant-abc"
    assert starts[0].interaction_id == "int-123"
    assert starts[0].stream_id == wire.stream
    assert starts[0].media.sample_rate == sample_rate
    assert isinstance(decoded[-1], End) or wire.hangs_up
    assert not [message for message in decoded if isinstance(message, Refused | Unknown)]


def in_binary(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


WRAPPINGS = [
    ("", ""), ("\ufeff", ""), (" \n", "\r\n"), ("\ufeff\n", " "), ("", "\0"), ("", "\n\0"),
    ("\v", "\f"),
]  # fmt: skip


@every_dialect
@pytest.mark.parametrize(("before", "behind"), WRAPPINGS)
def test_json_is_the_same_message_in_binary_and_with_blanks_a_mark_or_a_nul_around_it(
    dialect: Dialect, before: str, behind: str
) -> None:
    wire, long = wire_of(dialect), bytes(range(250)) * 40
    call = [*written(dialect)[:-1], wire.frame(3, long), *wire.closing(4)]
    wrapped = [f"{before}{it}{behind}" if isinstance(it, str) else it for it in call]
    decoded = decode_on(dialect, call)
    assert Audio in map(type, decoded)
    assert decode_on(dialect, wrapped) == decoded
    assert decode_on(dialect, list(map(in_binary, wrapped))) == decoded
    for first in (wrapped[0], in_binary(wrapped[0])):
        assert recognise(first, DIALECTS) is dialect


@every_dialect
def test_its_subprotocols_are_tokens(dialect: Dialect) -> None:
    assert isinstance(dialect.subprotocols, tuple)
    assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", it) for it in dialect.subprotocols)


@every_dialect
@settings(max_examples=150)
@given(first=st.integers(0, 2**40), frames=st.lists(st.binary(max_size=700), max_size=5))
def test_frames_written_in_a_row_are_read_as_they_are_and_numbered_in_a_row(
    dialect: Dialect, first: int, frames: list[bytes]
) -> None:
    wire = wire_of(dialect)
    opening = wire.opening()
    zeroth, *decoded = decode_on(
        dialect,
        [
            *opening,
            wire.frame(0, b"\0\0"),
            *(wire.frame(first + place, audio) for place, audio in enumerate(frames)),
        ],
    )[len(opening) :]
    assert isinstance(zeroth, Audio)
    assert zeroth.seq in (None, 0, 1)  # some carriers do not count, some count from 1
    assert decoded == [
        Audio(None if zeroth.seq is None else zeroth.seq + first + place, audio)
        for place, audio in enumerate(frames)
    ]


@every_dialect
def test_a_large_and_a_late_frame_are_read(dialect: Dialect) -> None:
    wire = wire_of(dialect)
    opening = wire.opening()
    seq = MAX_SEQ - 1
    decoded = decode_on(dialect, [*opening, wire.frame(seq, bytes(100_000))])[-1]
    assert isinstance(decoded, Audio)
    assert decoded.audio == bytes(100_000)
    assert decoded.seq in (None, seq, seq + 1)


@every_dialect
@settings(max_examples=300)
@given(text=TEXTS, query=st.sampled_from(QUERIES))
def test_any_text_is_a_message_and_always_the_same(
    dialect: Dialect, text: str, query: dict[str, str]
) -> None:
    message = dialect.decoder(query, ignore_remark).decode_text(text.encode())
    assert isinstance(message, KINDS)
    assert dialect.decoder(query, ignore_remark).decode_text(text.encode()) == message
    check_values(message)


@every_dialect
@settings(max_examples=300)
@given(data=st.binary(max_size=400) | TEXTS.map(str.encode) | NO_TEXTS)
def test_any_bytes_are_a_message_and_always_the_same(dialect: Dialect, data: bytes) -> None:
    message = dialect.decoder({}, ignore_remark).decode_binary(data)
    assert isinstance(message, KINDS)
    assert dialect.decoder({}, ignore_remark).decode_binary(data) == message
    check_values(message)


@every_dialect
@settings(max_examples=100)
@given(before=st.lists(TEXTS | st.binary(max_size=60), max_size=6))
def test_whatever_was_said_before_a_frame_is_read_all_the_same(
    dialect: Dialect, before: list[str | bytes]
) -> None:
    wire = wire_of(dialect)
    opening = wire.opening()
    decoded = decode_on(dialect, [*before, *opening, wire.frame(7, b"\1\2")], remark=ignore_remark)
    assert isinstance(decoded[-1], Audio)
    assert decoded[-1].audio == b"\1\2"


def check_values(message: Message) -> None:
    match message:
        case Audio(seq, audio):
            assert seq is None or 0 <= seq <= MAX_SEQ
            assert isinstance(audio, bytes)
        case SignalSaid(signal, details):
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


@settings(max_examples=300)
@given(MIXED)
def test_an_object_is_recognised_by_at_most_one_dialect_wherever_it_stands(
    first: dict[str, Any],
) -> None:
    recognisers = [dialect for dialect in DIALECTS if dialect.recognises(first)]
    assert len(recognisers) <= 1
    text = json.dumps(first)
    for order in (DIALECTS, DIALECTS[::-1]):
        for form in (text, text.encode()):
            if recognisers:
                assert recognise(form, order) is recognisers[0]
            else:
                with pytest.raises(UnknownDialect):
                    recognise(form, order)


@settings(max_examples=250)
@given(TEXTS | st.binary(max_size=400))
def test_a_first_message_is_recognised_or_refused_and_then_decoded(first: str | bytes) -> None:
    try:
        dialect = recognise(first, DIALECTS)
    except (UnknownDialect, FirstMessageNotJson):
        return
    assert isinstance(decode_on(dialect, [first], remark=ignore_remark)[0], KINDS)


@every_dialect
def test_each_message_of_a_call_that_may_come_first_is_recognised_as_its_own(
    dialect: Dialect,
) -> None:
    for message in written(dialect):
        try:
            assert recognise(message, DIALECTS) is dialect
        except UnknownDialect:
            continue


@every_dialect
@given(
    generation=st.integers(1, MAX_SEQ),
    seq=st.integers(0, MAX_SEQ),
    explanation=st.text(max_size=20),
    refusal=st.sampled_from(Refusal),
)
def test_a_reply_is_a_json_object_or_none(
    dialect: Dialect, generation: int, seq: int, explanation: str, refusal: Refusal
) -> None:
    call = InteractionId("int-123")
    for reply in (
        dialect.started(call, generation, None),
        dialect.started(call, generation, seq),
        dialect.ack(seq),
        dialect.error(Refused(refusal, explanation)),
        dialect.error(Refused(refusal, explanation, seq)),
        dialect.ended(call, Ledger()),
    ):
        assert reply is None or isinstance(json.loads(reply), dict)


@every_dialect
def test_a_connection_knows_nothing_of_another(dialect: Dialect) -> None:
    messages = written(dialect)
    alone = decode_on(dialect, messages)
    decode_on(dialect, list(wire_of(dialect, 16_000, "int-999").opening()))
    assert decode_on(dialect, messages) == alone
