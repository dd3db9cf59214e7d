"""What a client must not send, frame by frame; numbers are the sections of RFC 6455.

Where the RFC leaves a choice, what is done is held fast, so that a change of it is seen.
"""

import pytest
from frames_read import MAX_BYTES, Told, read
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
    header,
    unmasked,
)
from wrong_text import INVALID_UTF8, pattern

from adapters.inbound.websocket.frame_reader import MAX_FRAGMENTS
from application.call.closing import CloseCode

BEFORE, AFTER = frame(TEXT, b"before"), frame(TEXT, b"after")
WHOLE_AND_HALVES = ([frame(TEXT, b"whole")], fragments(TEXT, [b"who", b"le"]))


def ends(code: int, *frames: bytes) -> Told:
    """Expect a violation with this code; nothing behind it is told, and no control frame."""
    told = read([BEFORE + b"".join(frames) + AFTER])
    assert (told.code, told.messages, told.controls) == (code, ["before"], [])
    return told


# Opcodes and reserved bits, 5.2


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", pattern(125)], ids=["0", "2", "125"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
def test_a_reserved_opcode_is_closed_1002(opcode: int, fin: bool, payload: bytes) -> None:
    ends(1002, frame(opcode, payload, fin=fin))


@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
def test_a_continuation_of_nothing_is_closed_1002(fin: bool) -> None:
    ends(1002, frame(CONT, b"more", fin=fin))
    for before in WHOLE_AND_HALVES:
        told = read([*before, frame(CONT, b"more", fin=fin)])
        assert (told.code, told.messages) == (1002, ["whole"])


@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_is_closed_1002(rsv: int) -> None:
    """No extension is agreed on: compressed frames, which have the first bit, are not read."""
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
        ends(1002, frame(opcode, b"\x03\xe8", rsv=rsv))
    first, last = frame(TEXT, b"a", fin=False), frame(CONT, b"b")
    ends(1002, frame(TEXT, b"a", fin=False, rsv=rsv), last)
    ends(1002, first, frame(CONT, b"b", rsv=rsv))
    ends(1002, first, frame(CONT, b"b", fin=False, rsv=rsv), last)


# Masking, 5.1 and 5.3


@pytest.mark.parametrize("size", [0, 2, 125, 126, 65_536])
@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY, CLOSE, PING, PONG, 3, 15])
def test_a_frame_that_is_not_masked_is_closed_1002(opcode: int, size: int) -> None:
    ends(1002, unmasked(opcode, pattern(size)))


def test_two_bytes_are_enough_to_see_that_a_frame_is_not_masked_or_reserved() -> None:
    assert read([b"\x81"]).code is None
    assert read([b"\x81\x05"]).code == 1002
    assert read([b"\x83", b"\x85"]).code == 1002


# Lengths, 5.2


@pytest.mark.parametrize(
    "length",
    [MAX_BYTES + 1, 2**31, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1],
    ids=hex,
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING])
def test_a_header_that_says_too_much_is_closed_1009_before_its_payload_comes(
    opcode: int, length: int
) -> None:
    told = read([BEFORE, header(opcode, length, wide=8)])
    assert (told.code, told.messages) == (1009, ["before"])


@pytest.mark.parametrize(
    "sizes",
    [(MAX_BYTES, 1), (1, MAX_BYTES), (MAX_BYTES // 2, 1, MAX_BYTES // 2), (MAX_BYTES + 1, 0)],
    ids=str,
)
def test_a_message_over_the_most_in_fragments_is_closed_1009(sizes: tuple[int, ...]) -> None:
    ends(1009, *fragments(BINARY, [pattern(size) for size in sizes]))


# Fragments, 5.4


@pytest.mark.parametrize("size", [0, 5, 126])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_inside_a_message_is_closed_1002(opcode: int, fin: bool, size: int) -> None:
    ends(1002, frame(TEXT, b"begun", fin=False), frame(opcode, pattern(size), fin=fin), frame(CONT))


@pytest.mark.parametrize("part", [b"", b"x"], ids=["empty", "one byte"])
@pytest.mark.parametrize("more", [1, 2, 1_000])
def test_more_fragments_are_closed_1008(part: bytes, more: int) -> None:
    assert MAX_FRAGMENTS == 1_024
    ends(1008, *fragments(TEXT, [part] * (MAX_FRAGMENTS + more)))


# Control frames, 5.5


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 127, 65_535, 65_536, MAX_BYTES])
def test_a_control_frame_of_more_than_125_bytes_is_closed_1002(opcode: int, size: int) -> None:
    ends(1002, frame(opcode, b"\x03\xe8" + pattern(size - 2)))


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_in_fragments_is_closed_1002(opcode: int) -> None:
    for inside in ([], [frame(TEXT, b"begun", fin=False)]):
        ends(1002, *inside, frame(opcode, b"\x03\xe8", fin=False), frame(CONT))


# UTF-8, 8.1


@pytest.mark.parametrize("payload", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_text_that_is_not_utf8_is_closed_1007(payload: bytes) -> None:
    ends(1007, frame(TEXT, payload))
    ends(1007, *fragments(TEXT, [payload, b""]))
    for at in range(len(payload)):
        ends(1007, *fragments(TEXT, [payload[:at], payload[at:]]))


@pytest.mark.parametrize("is_late", [False, True], ids=["taken", "waits"])
@pytest.mark.parametrize(
    "behind",
    [[], [close(4000)], [frame(PING, b"x")], [frame(0x3)], [unmasked(TEXT, b"x")]],
    ids=["", "close", "ping", "opcode", "mask"],
)
def test_nothing_after_text_that_is_not_utf8_is_told(behind: list[bytes], is_late: bool) -> None:
    more = [frame(TEXT, b"after"), frame(BINARY, b"after")]
    sent = [BEFORE, frame(TEXT, b"\xff"), *more, *behind, *more]
    told = read([b"".join(sent)], is_late=is_late)
    assert (told.code, told.messages, told.controls) == (1007, ["before"], [])


# Closing, 5.5.1 and 7


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000])
@pytest.mark.parametrize("reason", [b"", b"why"], ids=["no reason", "reason"])
def test_a_code_that_must_not_be_sent_is_closed_1002(code: int, reason: bytes) -> None:
    ends(1002, close(code, reason))


@pytest.mark.parametrize("byte", [b"\0", b"\x03", b"\xff"], ids=bytes.hex)
def test_half_a_code_is_closed_1002(byte: bytes) -> None:
    ends(1002, frame(CLOSE, byte))


@pytest.mark.parametrize("reason", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_a_reason_that_is_not_utf8_is_closed_1007(reason: bytes) -> None:
    ends(1007, close(1000, reason))


def test_a_close_inside_a_message_is_closed_1002() -> None:
    """The RFC lets control frames come there; that the message stays unfinished is held against it.

    Either way the peer hears a close, and TCP ends.
    """
    ends(1002, frame(TEXT, b"begun", fin=False), close(1000))


def test_every_code_of_a_violation_is_one_that_the_service_closes_with() -> None:
    sent = [frame(0x3), frame(TEXT, b"\xff"), frame(TEXT, fin=False), header(TEXT, 2**31) + MASK]
    sent[2] += frame(CONT, fin=False) * MAX_FRAGMENTS
    codes = [read([each]).code for each in sent]
    assert codes == [
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_DATA,
        CloseCode.POLICY,
        CloseCode.TOO_BIG,
    ]
