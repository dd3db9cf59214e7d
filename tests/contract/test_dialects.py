"""What our dialects must do beside what the kit asks of any (`test_dialect_kit`).

What a dialect's messages look like is taken from the carrier that writes them (`WIRES`, which
shares no code with the decoders), so that a misunderstanding cannot be on both sides.
"""

from functools import partial
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_carrier import VOCABULARY, WireCarrier

from adapters.inbound.dialects import (
    DIALECTS,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.handshake import Handshake
from adapters.inbound.testing.carrier import written
from adapters.inbound.testing.decoding import KINDS, decode_on
from adapters.inbound.testing.drawing import texts
from application.call.messages import (
    Audio,
    End,
    Refused,
    Start,
    Unknown,
)
from domain.media import SAMPLE_RATES_HZ
from domain.sequence import MAX_SEQ
from entrypoints.carrier.wire import WIRES, Call, Wire

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def wire_of(dialect: Dialect, sample_rate: int = 8_000, interaction: str = "int-123") -> Wire:
    """Return what the dialect's carrier writes a call with."""
    return WIRES[dialect.name](Call("tenant-abc", interaction, sample_rate))


def refuse_remark(remark: str) -> None:
    raise AssertionError(remark)


read = partial(decode_on, remark=refuse_remark)
"""Decodes the messages of one connection; nothing is odd about it."""


def test_the_names_are_unique() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert len(set(names)) == len(names)


@every_dialect
def test_there_is_a_carrier_that_writes_it(dialect: Dialect) -> None:
    assert dialect.name in WIRES


@every_dialect
@pytest.mark.parametrize("sample_rate", sorted(SAMPLE_RATES_HZ))
def test_a_written_call_is_recognised_and_read(dialect: Dialect, sample_rate: int) -> None:
    wire = wire_of(dialect, sample_rate)
    opening = wire.opening()
    assert recognise(opening[0], Handshake(), DIALECTS) is dialect
    decoded = read(dialect, [*opening, *wire.closing(0)], dict(parse_qsl(wire.query)))
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
    call = [*written(WireCarrier(dialect))[:-1], wire.frame(3, long), *wire.closing(4)]
    wrapped = [f"{before}{it}{behind}" if isinstance(it, str) else it for it in call]
    decoded = read(dialect, call)
    assert Audio in map(type, decoded)
    assert read(dialect, wrapped) == decoded
    assert read(dialect, list(map(in_binary, wrapped))) == decoded
    for first in (wrapped[0], in_binary(wrapped[0])):
        assert recognise(first, Handshake(), DIALECTS) is dialect


@every_dialect
@settings(max_examples=150)
@given(first=st.integers(0, 2**40), frames=st.lists(st.binary(max_size=700), max_size=5))
def test_frames_written_in_a_row_are_read_as_they_are_and_numbered_in_a_row(
    dialect: Dialect, first: int, frames: list[bytes]
) -> None:
    wire = wire_of(dialect)
    opening = wire.opening()
    zeroth, *decoded = read(
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
    decoded = read(dialect, [*opening, wire.frame(seq, bytes(100_000))])[-1]
    assert isinstance(decoded, Audio)
    assert decoded.audio == bytes(100_000)
    assert decoded.seq in (None, seq, seq + 1)


@settings(max_examples=250)
@given(texts(VOCABULARY) | st.binary(max_size=400))
def test_a_first_message_is_recognised_or_refused_and_then_decoded(first: str | bytes) -> None:
    try:
        dialect = recognise(first, Handshake(), DIALECTS)
    except (UnknownDialect, FirstMessageNotJson):
        return
    assert isinstance(decode_on(dialect, [first])[0], KINDS)


@every_dialect
def test_a_connection_knows_nothing_of_another(dialect: Dialect) -> None:
    messages = written(WireCarrier(dialect))
    alone = read(dialect, messages)
    read(dialect, list(wire_of(dialect, 16_000, "int-999").opening()))
    assert read(dialect, messages) == alone
