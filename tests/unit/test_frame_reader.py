"""Messages and control frames out of frames, however they are cut; sections of RFC 6455."""

import itertools
from typing import Any

import pytest
from frames_read import MAX_BYTES, Message, read
from raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    close,
    fragments,
    frame,
    unmasked,
)
from wrong_text import INVALID_UTF8, SPLIT_TEXT, pattern

from adapters.inbound.websocket.frame_reader import MAX_FRAGMENTS, FrameReader

EACH_LENGTH = [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65_535, 65_536, 65_537, MAX_BYTES]
"""Both sides of each edge: 125 is the last that one byte says, 65535 the last of two more."""


def text(payload: bytes) -> Message:
    return payload.decode()


KINDS = pytest.mark.parametrize(("opcode", "kind"), [(TEXT, text), (BINARY, bytes)])


def messages(*frames: bytes) -> list[Message]:
    """Expect nothing but messages; return them."""
    told = read([b"".join(frames)])
    assert (told.controls, told.violation) == ([], None)
    return told.messages


def test_text_is_given_as_text_and_binary_as_bytes() -> None:
    assert messages(frame(TEXT, b"same"), frame(BINARY, b"same")) == ["same", b"same"]


@pytest.mark.parametrize(
    "mask",
    [bytes(4), b"\xff" * 4, MASK, b"\x80\0\0\0", b"\0\0\0\1", b"\x81\x82\x88\x89"],
    ids=bytes.hex,
)
def test_any_masking_key_is_taken_off(mask: bytes) -> None:
    sizes = [*range(40), 125, 126, 127, 1_000, 65_536]
    sent = [frame(BINARY, pattern(size), mask=mask) for size in sizes]
    assert messages(*sent) == [pattern(size) for size in sizes]


def test_each_frame_has_a_masking_key_of_its_own() -> None:
    told = read([
        frame(TEXT, b"whole", mask=b"\1\2\3\4"),
        frame(TEXT, b"frag", fin=False, mask=b"\5\6\7\x08"),
        frame(PING, b"ping", mask=b"\xff\xfe\xfd\xfc"),
        frame(CONT, b"ment", mask=bytes(4)),
    ])  # fmt: skip
    assert (told.messages, told.controls) == (["whole", "fragment"], [(PING, b"ping")])


@KINDS
@pytest.mark.parametrize("size", EACH_LENGTH)
def test_a_message_of_each_length_is_read(opcode: int, kind: Any, size: int) -> None:
    sent = [frame(opcode, pattern(size)), frame(opcode, b"next")]
    assert messages(*sent) == [kind(pattern(size)), kind(b"next")]


@KINDS
@pytest.mark.parametrize(
    ("size", "wide"), [(0, 2), (1, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)]
)
def test_a_length_written_in_more_bytes_than_needed_is_taken(
    opcode: int, kind: Any, size: int, wide: int
) -> None:
    """It is a MUST of senders; receivers are not told to look for it, and this one does not."""
    sent = [frame(opcode, pattern(size), wide=wide), frame(opcode, b"next")]
    assert messages(*sent) == [kind(pattern(size)), kind(b"next")]
    assert read([frame(PING, b"hello", wide=wide)]).controls == [(PING, b"hello")]


# Fragments, 5.4


@KINDS
def test_a_message_in_fragments_cut_anywhere_is_whole(opcode: int, kind: Any) -> None:
    whole = SPLIT_TEXT.encode()
    places = range(len(whole) + 1)
    cuts: list[tuple[int, ...]] = [(), *((at,) for at in places)]
    cuts += itertools.combinations_with_replacement(places, 2)
    for cut in cuts:
        bounds = [0, *cut, len(whole)]
        parts = [whole[begin:end] for begin, end in itertools.pairwise(bounds)]
        assert messages(*fragments(opcode, parts)) == [kind(whole)], cut


@KINDS
def test_fragments_may_all_be_empty(opcode: int, kind: Any) -> None:
    for number in (1, 2, 3, 10):
        assert messages(*fragments(opcode, [b""] * number)) == [kind(b"")]


def test_a_byte_a_fragment_and_whole_messages_between_messages() -> None:
    slowly = [bytes([byte]) for byte in SPLIT_TEXT.encode()]
    sent = [*fragments(TEXT, slowly), frame(BINARY, b"whole")]
    sent += [*fragments(BINARY, slowly), frame(TEXT, b"whole")]
    assert messages(*sent * 3) == [SPLIT_TEXT, b"whole", SPLIT_TEXT.encode(), "whole"] * 3


@pytest.mark.parametrize(
    "sizes",
    [(MAX_BYTES, 0), (0, MAX_BYTES), (MAX_BYTES // 2,) * 2, (1, MAX_BYTES - 2, 1)],
    ids=str,
)
def test_a_message_of_the_most_in_fragments_is_read(sizes: tuple[int, ...]) -> None:
    parts = [pattern(size) for size in sizes]
    assert messages(*fragments(BINARY, parts)) == [b"".join(parts)]


@pytest.mark.parametrize("part", [b"", b"x"], ids=["empty", "one byte"])
def test_so_many_fragments_are_taken(part: bytes) -> None:
    sent = [*fragments(TEXT, [part] * MAX_FRAGMENTS), frame(TEXT, b"next")]
    assert messages(*sent * 2) == [text(part * MAX_FRAGMENTS), "next"] * 2


# Control frames, 5.5


@pytest.mark.parametrize("size", [0, 1, 4, 124, 125])
@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_control_frame_of_each_length_is_told(opcode: int, size: int) -> None:
    payload = bytes(reversed(range(256)))[:size]
    assert read([frame(opcode, payload)]).controls == [(opcode, payload)]


def test_pings_anywhere_are_told_in_their_order() -> None:
    whole = SPLIT_TEXT.encode()
    pings = [b"%d" % n for n in range(3 * (len(whole) + 1))]
    numbers = iter(pings)
    sent: list[bytes] = []
    for cut in range(len(whole) + 1):
        first, last = fragments(TEXT, [whole[:cut], whole[cut:]])
        sent += [frame(PING, next(numbers)), first, frame(PING, next(numbers)), last]
        sent += [frame(PING, next(numbers)), frame(BINARY, b"between")]
    told = read([b"".join(sent)])
    assert told.messages == [SPLIT_TEXT, b"between"] * (len(whole) + 1)
    assert told.controls == [(PING, payload) for payload in pings]


# UTF-8, 8.1


@pytest.mark.parametrize(
    "whole",
    ["\0", "\x7f\x80", "\u07ff\u0800", "\ud7ff\ue000", "\ufeffBOM", "\ufffe\uffff", "\U0010ffff"],
    ids=ascii,
)
def test_every_valid_text_is_read_as_it_was(whole: str) -> None:
    slowly = [bytes([byte]) for byte in whole.encode()]
    assert messages(frame(TEXT, whole.encode()), *fragments(TEXT, slowly)) == [whole, whole]


@pytest.mark.parametrize("payload", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_bytes_and_pings_need_not_be_utf8(payload: bytes) -> None:
    parts = fragments(BINARY, [payload[:1], payload[1:]])
    told = read([frame(BINARY, payload), frame(PING, payload), frame(PONG, payload), *parts])
    assert told.messages == [payload, payload]
    assert told.controls == [(PING, payload), (PONG, payload)]


# The end, 5.5.1


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4409, 4999]


@pytest.mark.parametrize("reason", ["", "bye", "grüße", "r" * 123], ids=len)
@pytest.mark.parametrize("code", VALID_CODES)
def test_a_close_is_told(code: int, reason: str) -> None:
    told = read([frame(TEXT, b"before"), close(code, reason.encode())])
    assert told.messages == ["before"]
    assert told.controls == [(CLOSE, code.to_bytes(2) + reason.encode())]


def test_a_close_without_a_code_is_told() -> None:
    assert read([frame(CLOSE)]).controls == [(CLOSE, b"")]


BEHIND = [
    frame(TEXT, b"after"),
    frame(BINARY, b"after"),
    *fragments(TEXT, [b"af", b"ter"]),
    frame(PING, b"after"),
    close(4000, b"again"),
    unmasked(TEXT, b"after"),
    frame(TEXT, b"\xff"),
    b"\x81",
]


@pytest.mark.parametrize("max_frames", [1, 64])
@pytest.mark.parametrize("end", [close(1000), frame(0x3), frame(TEXT, b"\xff")], ids=bytes.hex)
@pytest.mark.parametrize("before", [1, 62, 63, 64, 65, 127, 600])
def test_nothing_after_the_end_is_told(before: int, end: bytes, max_frames: int) -> None:
    sent: list[Message] = [b"%d" % n for n in range(before)]
    frames = b"".join(frame(BINARY, b"%d" % n) for n in range(before))
    told = read([frames + end + b"".join(BEHIND), *BEHIND], max_frames=max_frames)
    assert told.messages == sent
    assert told.controls == ([(CLOSE, b"\x03\xe8")] if told.violation is None else [])


def test_after_a_close_of_ours_messages_are_dropped_and_control_frames_told() -> None:
    reader = FrameReader(MAX_BYTES)
    begun = [frame(TEXT, b"before"), frame(TEXT, b"half", fin=False)]
    assert read(begun, reader=reader).messages == ["before"]
    reader.drops_messages = True
    late = [frame(CONT, b"the other half"), frame(TEXT, b"late") * 100, frame(TEXT, b"\xff")]
    late += [*fragments(TEXT, [b"\xff", b""]), frame(PING, b"alive"), close(4400)]
    told = read(late, reader=reader)
    assert (told.messages, told.violation) == ([], None)
    assert told.controls == [(PING, b"alive"), (CLOSE, (4400).to_bytes(2))]


def test_pings_of_a_lost_connection_are_dropped_and_its_end_is_told() -> None:
    reader = FrameReader(MAX_BYTES)
    reader.drops_pings = True
    sent = [frame(PING, b"x"), frame(TEXT, b"before"), frame(PONG), close(1000), frame(TEXT)]
    told = read([b"".join(sent)], reader=reader)
    assert (told.messages, told.controls) == (["before"], [(CLOSE, b"\x03\xe8")])


def test_text_that_is_not_utf8_and_waits_when_we_close_is_dropped() -> None:
    reader = FrameReader(MAX_BYTES)
    reader.read(64, memoryview(frame(TEXT, b"\xff") + frame(TEXT, b"after")))
    reader.drops_messages = True
    assert reader.take() is None
    told = read([close(1000)], reader=reader)
    assert (told.messages, told.controls) == ([], [(CLOSE, b"\x03\xe8")])
    assert told.violation is None
