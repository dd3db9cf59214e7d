"""Conformance to RFC 6455, frame by frame over plain sockets; numbers are the RFC's sections.

Where the RFC leaves a choice, what is done is held fast, so that a change of it is seen.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observed_websocket import MAX_BYTES, ObservedServer, SessionPeer, wait_for
from published import Broker, audio
from raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    close,
    fragments,
    frame,
    header,
    unmasked,
)
from running import Service, pcm
from waiting import wait_until

from adapters.inbound import uvicorn_protocols
from adapters.inbound.uvicorn_protocols import (
    MAX_FRAGMENTS,
    MAX_UNREAD_BYTES,
    MESSAGE_BYTES,
    MOST_FRAMES_AT_ONCE,
    READ_BYTES,
)
from application.call.closing import CloseCode

pytestmark = pytest.mark.timeout(30)

Message = str | bytes

EACH_LENGTH = [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65_535, 65_536, 65_537, MAX_BYTES]
"""Both sides of each edge: 125 is the last that one byte says, 65535 the last of two more."""

WAITING_BYTES = 64 * 1024
"""What may wait for a slow application in these tests, however the service is tuned."""

UNREAD_BYTES = 16 * 1024 * 1024
"""More than kernels hold for a peer that does not read."""

SPLIT_TEXT = "aé€😀z"
"""Characters of one, two, three and four bytes."""

INVALID_UTF8 = {
    "continuation alone": b"\x80",
    "truncated 2": b"a\xc3",
    "truncated 3": b"a\xe2\x82",
    "truncated 4": b"a\xf0\x9f\x98",
    "overlong slash": b"\xc0\xaf",
    "overlong 3": b"\xe0\x80\xaf",
    "overlong 4": b"\xf0\x80\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "0xFE": b"\xfe",
    "0xFF": b"\xff",
    "in the middle": "κόσμε".encode() + b"\xff" + b"edited",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ObservedServer]:
    with ObservedServer() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_complained_of(server: ObservedServer) -> Iterator[None]:
    """No peer, whatever it sends, may fill a log or raise in the loop."""
    server.complaints.clear()
    yield
    assert server.complaints[:3] == []


@pytest.fixture
def little_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocols, "MOST_WAITING_BYTES", WAITING_BYTES)


def text(payload: bytes) -> Message:
    return payload.decode()


def pattern(size: int) -> bytes:
    """ASCII in which a shift shows."""
    return b"".join(b"%07x." % n for n in range(size // 8 + 1))[:size]


def ended(peer: SessionPeer, code: int, *before: Message) -> list[Frame]:
    """Expect the server to close with `code`, its application to have had what was `before`.

    Return the frames that came ahead of the close.
    """
    *others, last = peer.rest()
    assert (last.opcode, last.code) == (CLOSE, code)
    assert peer.session.end() == list(before)
    told, _ = peer.session.disconnects  # uvicorn tells again when the connection is lost
    assert told[0] == code
    return others


def until(peer: SessionPeer, number: int) -> None:
    """Wait until the application has taken so many messages."""
    wait_for(lambda: len(peer.session.messages) >= number)


def closed(peer: SessionPeer, *before: Message) -> list[Frame]:
    """Close the connection from here, in the usual way, and expect the same as `ended`."""
    peer.send(close(1000))
    others = ended(peer, 1000, *before)
    assert not peer.was_reset
    return others


# Opcodes and reserved bits, 5.2


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", pattern(125)], ids=["0", "2", "125"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
def test_a_reserved_opcode_is_closed_1002(
    server: ObservedServer, opcode: int, fin: bool, payload: bytes
) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), frame(opcode, payload, fin=fin), frame(TEXT, b"after"))
        assert ended(peer, 1002, "before") == []


@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
def test_a_continuation_of_nothing_is_closed_1002(server: ObservedServer, fin: bool) -> None:
    for before in ([], [frame(TEXT, b"whole")], fragments(TEXT, [b"who", b"le"])):
        with server.dial() as peer:
            peer.send(*before, frame(CONT, b"more", fin=fin))
            assert ended(peer, 1002, *(["whole"] if before else [])) == []


def test_text_is_given_as_text_and_binary_as_bytes(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"same"), frame(BINARY, b"same"))
        assert closed(peer, "same", b"same") == []


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_reserved_bit_is_closed_1002(server: ObservedServer, opcode: int, rsv: int) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), frame(opcode, b"\x03\xe8", rsv=rsv))
        assert ended(peer, 1002, "before") == []


@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_in_a_fragment_is_closed_1002(server: ObservedServer, rsv: int) -> None:
    first, last = frame(TEXT, b"a", fin=False), frame(CONT, b"b")
    for frames in (
        [frame(TEXT, b"a", fin=False, rsv=rsv), last],
        [first, frame(CONT, b"b", rsv=rsv)],
        [first, frame(CONT, b"b", fin=False, rsv=rsv), last],
    ):
        with server.dial() as peer:
            peer.send(*frames)
            assert ended(peer, 1002) == []


# Masking, 5.1 and 5.3


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", pattern(125)], ids=["0", "2", "125"])
@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY, CLOSE, PING, PONG, 3, 15])
def test_a_frame_that_is_not_masked_is_closed_1002(
    server: ObservedServer, opcode: int, payload: bytes
) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), unmasked(opcode, payload), frame(TEXT, b"after"))
        assert ended(peer, 1002, "before") == []


@pytest.mark.parametrize("size", [126, 65_536])
def test_a_long_frame_that_is_not_masked_is_closed_1002(server: ObservedServer, size: int) -> None:
    with server.dial() as peer:
        peer.send_beside(unmasked(BINARY, pattern(size)))
        assert ended(peer, 1002) == []


def test_two_bytes_are_enough_to_see_that_a_frame_is_not_masked(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.send(b"\x81\x05")
        assert ended(peer, 1002) == []


@pytest.mark.parametrize(
    "mask",
    [bytes(4), b"\xff" * 4, MASK, b"\x80\0\0\0", b"\0\0\0\1", b"\x81\x82\x88\x89"],
    ids=bytes.hex,
)
def test_any_masking_key_is_taken_off(server: ObservedServer, mask: bytes) -> None:
    sizes = [*range(40), 125, 126, 127, 1_000, 65_536]
    with server.dial() as peer:
        for size in sizes:
            peer.send(frame(BINARY, pattern(size), mask=mask))
        assert closed(peer, *map(pattern, sizes)) == []


def test_each_frame_has_a_masking_key_of_its_own(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.send(
            frame(TEXT, b"whole", mask=b"\1\2\3\4"),
            frame(TEXT, b"frag", fin=False, mask=b"\5\6\7\x08"),
            frame(PING, b"ping", mask=b"\xff\xfe\xfd\xfc"),
            frame(CONT, b"ment", mask=bytes(4)),
        )
        assert closed(peer, "whole", "fragment") == [Frame(PONG, b"ping")]


# Lengths, 5.2


@pytest.mark.parametrize("size", EACH_LENGTH)
@pytest.mark.parametrize(("opcode", "read"), [(TEXT, text), (BINARY, bytes)])
def test_a_message_of_each_length_arrives_and_goes_back(
    server: ObservedServer, opcode: int, read: Any, size: int
) -> None:
    sent = pattern(size)
    with server.dial(echoes=True) as peer:
        peer.send_beside(frame(opcode, sent), frame(opcode, b"next"))
        assert peer.next() == Frame(opcode, sent)
        assert peer.next() == Frame(opcode, b"next")
        assert closed(peer, read(sent), read(b"next")) == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_over_the_most_is_closed_1009(server: ObservedServer, opcode: int) -> None:
    with server.dial() as peer:
        peer.send_beside(frame(TEXT, b"before"), frame(opcode, pattern(MAX_BYTES + 1)))
        assert ended(peer, 1009, "before") == []


@pytest.mark.parametrize(
    "length",
    [MAX_BYTES + 1, 2**31, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1],
    ids=hex,
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING])
def test_a_header_that_says_too_much_is_closed_1009_before_its_payload_comes(
    server: ObservedServer, opcode: int, length: int
) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), header(opcode, length, wide=8), MASK)
        assert ended(peer, 1009, "before") == []


@pytest.mark.parametrize(
    ("size", "wide"), [(0, 2), (1, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)]
)
@pytest.mark.parametrize(("opcode", "read"), [(TEXT, text), (BINARY, bytes)])
def test_a_length_said_in_more_bytes_than_needed_is_taken(
    server: ObservedServer, opcode: int, read: Any, size: int, wide: int
) -> None:
    """It is a MUST of senders; nobody is told to look for it, and nobody does."""
    with server.dial() as peer:
        peer.send(frame(opcode, pattern(size), wide=wide), frame(opcode, b"next"))
        assert closed(peer, read(pattern(size)), read(b"next")) == []


@pytest.mark.parametrize("wide", [2, 8])
def test_a_short_ping_with_a_long_length_is_answered(server: ObservedServer, wide: int) -> None:
    with server.dial() as peer:
        peer.send(frame(PING, b"hello", wide=wide))
        assert closed(peer) == [Frame(PONG, b"hello")]


# Fragments, 5.4


@pytest.mark.parametrize(("opcode", "read"), [(TEXT, text), (BINARY, bytes)])
def test_a_message_in_fragments_cut_anywhere_is_whole(
    server: ObservedServer, opcode: int, read: Any
) -> None:
    whole = SPLIT_TEXT.encode()
    places = range(len(whole) + 1)
    cuts: list[tuple[int, ...]] = [(), *((at,) for at in places)]
    cuts += itertools.combinations_with_replacement(places, 2)
    with server.dial() as peer:
        for cut in cuts:
            bounds = [0, *cut, len(whole)]
            parts = [whole[begin:end] for begin, end in itertools.pairwise(bounds)]
            peer.send(*fragments(opcode, parts))
        assert closed(peer, *[read(whole)] * len(cuts)) == []


@pytest.mark.parametrize(("opcode", "read"), [(TEXT, text), (BINARY, bytes)])
def test_fragments_may_all_be_empty(server: ObservedServer, opcode: int, read: Any) -> None:
    with server.dial() as peer:
        for number in (1, 2, 3, 10):
            peer.send(*fragments(opcode, [b""] * number))
        assert closed(peer, *[read(b"")] * 4) == []


def test_a_byte_a_fragment_and_whole_messages_between_messages(server: ObservedServer) -> None:
    slowly = [bytes([byte]) for byte in SPLIT_TEXT.encode()]
    with server.dial() as peer:
        for _ in range(3):
            peer.send(*fragments(TEXT, slowly), frame(BINARY, b"whole"))
            peer.send(*fragments(BINARY, slowly), frame(TEXT, b"whole"))
        expected: list[Message] = [SPLIT_TEXT, b"whole", SPLIT_TEXT.encode(), "whole"] * 3
        assert closed(peer, *expected) == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "no fin"])
@pytest.mark.parametrize("size", [0, 5, 126])
def test_a_message_inside_a_message_is_closed_1002(
    server: ObservedServer, opcode: int, fin: bool, size: int
) -> None:
    with server.dial() as peer:
        peer.send(
            frame(TEXT, b"begun", fin=False), frame(opcode, pattern(size), fin=fin), frame(CONT)
        )
        assert ended(peer, 1002) == []


@pytest.mark.parametrize(
    "sizes",
    [(MAX_BYTES, 0), (0, MAX_BYTES), (MAX_BYTES // 2,) * 2, (1, MAX_BYTES - 2, 1)],
    ids=str,
)
def test_a_message_of_the_most_in_fragments_arrives(
    server: ObservedServer, sizes: tuple[int, ...]
) -> None:
    parts = [pattern(size) for size in sizes]
    with server.dial() as peer:
        peer.send_beside(*fragments(BINARY, parts), frame(PING))
        assert peer.next() == Frame(PONG, b"")
        assert closed(peer, b"".join(parts)) == []


@pytest.mark.parametrize(
    "sizes",
    [(MAX_BYTES, 1), (1, MAX_BYTES), (MAX_BYTES // 2, 1, MAX_BYTES // 2), (MAX_BYTES + 1, 0)],
    ids=str,
)
def test_a_message_over_the_most_in_fragments_is_closed_1009(
    server: ObservedServer, sizes: tuple[int, ...]
) -> None:
    with server.dial() as peer:
        peer.send_beside(
            frame(TEXT, b"before"), *fragments(BINARY, [pattern(size) for size in sizes])
        )
        assert ended(peer, 1009, "before") == []


@pytest.mark.parametrize("part", [b"", b"x"], ids=["empty", "one byte"])
def test_so_many_fragments_are_taken(server: ObservedServer, part: bytes) -> None:
    with server.dial() as peer:
        for _ in range(2):
            peer.send(*fragments(TEXT, [part] * MAX_FRAGMENTS), frame(TEXT, b"next"))
        assert closed(peer, *[text(part * MAX_FRAGMENTS), "next"] * 2) == []


@pytest.mark.parametrize("part", [b"", b"x"], ids=["empty", "one byte"])
@pytest.mark.parametrize("more", [1, 2, 1_000])
def test_more_fragments_are_closed_1008(server: ObservedServer, part: bytes, more: int) -> None:
    assert MAX_FRAGMENTS == 1_024
    with server.dial() as peer:
        peer.send_beside(*fragments(TEXT, [part] * (MAX_FRAGMENTS + more)), frame(TEXT, b"after"))
        assert ended(peer, 1008) == []


# Control frames, 5.5


@pytest.mark.parametrize("size", [0, 1, 4, 124, 125])
def test_a_ping_is_answered_by_a_pong_with_its_payload(server: ObservedServer, size: int) -> None:
    payload = bytes(reversed(range(256)))[:size]
    with server.dial() as peer:
        peer.send(frame(PING, payload))
        assert peer.next() == Frame(PONG, payload)
        assert closed(peer) == []


def test_pings_anywhere_are_answered_in_their_order(server: ObservedServer) -> None:
    whole = SPLIT_TEXT.encode()
    pings = [b"%d" % n for n in range(3 * (len(whole) + 1))]
    numbers = iter(pings)
    with server.dial() as peer:
        for cut in range(len(whole) + 1):
            first, last = fragments(TEXT, [whole[:cut], whole[cut:]])
            peer.send(frame(PING, next(numbers)), first, frame(PING, next(numbers)))
            peer.send(last, frame(PING, next(numbers)), frame(BINARY, b"between"))
        expected: list[Message] = [SPLIT_TEXT, b"between"] * (len(whole) + 1)
        assert closed(peer, *expected) == [Frame(PONG, ping) for ping in pings]


@pytest.mark.parametrize("payload", [b"", b"never asked for", pattern(125)], ids=len)
def test_a_pong_nobody_asked_for_is_ignored(server: ObservedServer, payload: bytes) -> None:
    pong = frame(PONG, payload)
    with server.dial() as peer:
        peer.send(pong, frame(TEXT, b"fr", fin=False), pong, frame(CONT, b"agment"), pong)
        assert closed(peer, "fragment") == []


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 127, 65_535, 65_536, MAX_BYTES])
def test_a_control_frame_of_more_than_125_bytes_is_closed_1002(
    server: ObservedServer, opcode: int, size: int
) -> None:
    with server.dial() as peer:
        peer.send_beside(frame(TEXT, b"before"), frame(opcode, b"\x03\xe8" + pattern(size - 2)))
        assert ended(peer, 1002, "before") == []


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_in_fragments_is_closed_1002(server: ObservedServer, opcode: int) -> None:
    for inside in ([], [frame(TEXT, b"begun", fin=False)]):
        with server.dial() as peer:
            peer.send(*inside, frame(opcode, b"\x03\xe8", fin=False), frame(CONT))
            assert ended(peer, 1002) == []


# UTF-8, 8.1


@pytest.mark.parametrize(
    "whole",
    ["\0", "\x7f\x80", "\u07ff\u0800", "\ud7ff\ue000", "\ufeffBOM", "\ufffe\uffff", "\U0010ffff"],
    ids=ascii,
)
def test_every_valid_text_arrives_as_it_was(server: ObservedServer, whole: str) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, whole.encode()))
        peer.send(*fragments(TEXT, [bytes([byte]) for byte in whole.encode()]))
        assert closed(peer, whole, whole) == []


@pytest.mark.parametrize("payload", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_text_that_is_not_utf8_is_closed_1007(server: ObservedServer, payload: bytes) -> None:
    ways = [
        [frame(TEXT, payload)],
        fragments(TEXT, [payload, b""]),
        fragments(TEXT, [b"", payload]),
        *(fragments(TEXT, [payload[:at], payload[at:]]) for at in range(1, len(payload))),
    ]
    for way in ways:
        with server.dial() as peer:
            peer.send(frame(TEXT, b"before"), *way, frame(TEXT, b"after"))
            assert ended(peer, 1007, "before") == []


@pytest.mark.parametrize("payload", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_bytes_and_pings_need_not_be_utf8(server: ObservedServer, payload: bytes) -> None:
    with server.dial() as peer:
        peer.send(frame(BINARY, payload), frame(PING, payload), frame(PONG, payload))
        peer.send(*fragments(BINARY, [payload[:1], payload[1:]]))
        assert closed(peer, payload, payload) == [Frame(PONG, payload)]


# Closing, 5.5.1 and 7


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4409, 4999]


@pytest.mark.parametrize("reason", ["", "bye", "grüße", "r" * 123], ids=len)
@pytest.mark.parametrize("code", VALID_CODES)
def test_a_close_is_echoed_and_told(server: ObservedServer, code: int, reason: str) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), close(code, reason.encode()))
        assert peer.rest() == [Frame(CLOSE, code.to_bytes(2) + reason.encode())]
        assert not peer.was_reset
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects[0] == (code, reason)


def test_a_close_without_a_code_is_echoed_without(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.send(frame(CLOSE))
        assert peer.rest() == [Frame(CLOSE, b"")]
        assert not peer.was_reset
        assert peer.session.end() == []
        assert peer.session.disconnects[0] == (1005, "")


@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
)
@pytest.mark.parametrize("reason", [b"", b"why"], ids=["no reason", "reason"])
def test_a_code_nobody_may_send_is_closed_1002(
    server: ObservedServer, code: int, reason: bytes
) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), close(code, reason))
        assert ended(peer, 1002, "before") == []


@pytest.mark.parametrize("byte", [b"\0", b"\x03", b"\xff"], ids=bytes.hex)
def test_half_a_code_is_closed_1002(server: ObservedServer, byte: bytes) -> None:
    with server.dial() as peer:
        peer.send(frame(CLOSE, byte))
        assert ended(peer, 1002) == []


@pytest.mark.parametrize("reason", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_a_reason_that_is_not_utf8_is_closed_1007(server: ObservedServer, reason: bytes) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), close(1000, reason))
        assert ended(peer, 1007, "before") == []


def test_a_close_inside_a_message_is_closed_1002(server: ObservedServer) -> None:
    """The RFC lets control frames come there; that the message stays unfinished is held against it.

    Either way the peer hears a close, and TCP ends.
    """
    with server.dial() as peer:
        peer.send(frame(TEXT, b"begun", fin=False), close(1000))
        assert ended(peer, 1002) == []


@pytest.mark.parametrize("end", [close(1000), frame(0x3)], ids=bytes.hex)
def test_nothing_after_the_end_is_delivered_or_answered(server: ObservedServer, end: bytes) -> None:
    after = [
        frame(TEXT, b"after"),
        frame(BINARY, b"after"),
        *fragments(TEXT, [b"af", b"ter"]),
        frame(PING, b"after"),
        close(4000, b"again"),
        unmasked(TEXT, b"after"),
        frame(TEXT, b"\xff"),
        b"\x81",
    ]
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), end, *after)
        (last,) = peer.rest()
        assert last.opcode == CLOSE
        assert peer.session.end() == ["before"]
        told, _ = peer.session.disconnects
        assert told[0] == last.code


@pytest.mark.parametrize(
    "after",
    [[], [close(4000)], [frame(PING, b"x")], [frame(0x3)], [unmasked(TEXT, b"x")]],
    ids=["", "close", "ping", "opcode", "mask"],
)
def test_no_message_after_a_text_that_is_not_utf8_is_delivered(
    server: ObservedServer, after: list[bytes]
) -> None:
    more = [frame(TEXT, b"after"), frame(BINARY, b"after")]
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), frame(TEXT, b"\xff"), *more, *after, *more)
        assert ended(peer, 1007, "before") == []


@pytest.mark.parametrize("end", [close(1000), frame(0x3), frame(TEXT, b"\xff")], ids=bytes.hex)
@pytest.mark.parametrize("before", [1, 62, 63, 64, 65, 127, 600])
def test_the_end_may_come_anywhere_in_a_long_segment(
    server: ObservedServer, end: bytes, before: int
) -> None:
    sent = [b"%d" % n for n in range(before)]
    data = b"".join(frame(BINARY, each) for each in sent) + end + frame(TEXT, b"after") * 600
    with server.dial() as peer:
        with server.standing_still():
            peer.send(data)
        (last,) = peer.rest()
        assert last.opcode == CLOSE
        assert peer.session.end() == sent
        assert peer.session.protocol.reads == [len(data)]


@pytest.mark.parametrize("code", [*CloseCode, 1009, 4999], ids=int)
@pytest.mark.parametrize("reason", ["", "restart: reconnect and resume", "é" * 61], ids=len)
def test_our_close_waits_for_its_echo(server: ObservedServer, code: int, reason: str) -> None:
    with server.dial() as peer:
        peer.session.close(int(code), reason)
        assert peer.next() == Frame(CLOSE, int(code).to_bytes(2) + reason.encode())
        server.turn()
        assert not peer.session.protocol.transport.is_closing()
        peer.send(close(code, reason.encode()))
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == []
        assert peer.session.disconnects[0] == (code, reason)


@pytest.mark.parametrize("echo", [close(4400), frame(CLOSE), close(1000, b"ok")], ids=bytes.hex)
def test_what_comes_between_our_close_and_its_echo_is_dropped(
    server: ObservedServer, echo: bytes
) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"), frame(TEXT, b"half", fin=False))
        wait_for(lambda: peer.session.messages == ["before"])
        peer.session.close(4400)
        assert peer.next().code == 4400
        peer.send_apart(
            frame(CONT, b"the other half"),
            frame(TEXT, b"late") * 1_000,
            frame(BINARY, pattern(100_000)),
            b"".join(fragments(TEXT, [b"la", b"te"])),
            frame(TEXT, b"\xff"),
            frame(TEXT, b"late", wide=8)[:7],
            frame(TEXT, b"late", wide=8)[7:],
        )
        server.turn()
        assert not peer.session.protocol.transport.is_closing()
        peer.send(echo)
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects[0] == (4400, "")


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 40, 207])
def test_our_close_may_fall_into_a_frame(server: ObservedServer, cut: int) -> None:
    late = frame(BINARY, pattern(200))
    with server.dial() as peer:
        peer.send_apart(frame(TEXT, b"before") + late[:cut])
        peer.session.close(1012)
        assert peer.next().code == 1012
        peer.send(late[cut:], close(1012))
        assert peer.rest() == []
        assert peer.session.end() == ["before"]


def test_our_close_in_the_middle_of_a_long_segment_ends_by_its_echo(server: ObservedServer) -> None:
    data = frame(TEXT, b"x") * 3_000
    with server.dial(closes_with=4403) as peer:
        with server.standing_still():
            peer.send(data)
        assert peer.next().code == 4403
        peer.send(frame(TEXT, b"late") * 1_000, close(4403))
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == ["x"] * MOST_FRAMES_AT_ONCE
        assert peer.session.disconnects[0] == (4403, "")


@pytest.mark.usefixtures("little_may_wait")
def test_our_close_while_nothing_is_read_reads_its_echo(server: ObservedServer) -> None:
    data = frame(BINARY, pattern(1_000)) * 200
    with server.dial(takes=0) as peer:
        peer.send_beside(data, close(1013))
        wait_for(lambda: peer.session.protocol.read_paused)
        peer.session.close(1013)
        assert peer.next().code == 1013
        assert peer.rest() == []
        peer.session.take(1_000)
        taken = peer.session.end()
        assert taken == [pattern(1_000)] * len(taken)
        assert peer.session.disconnects[0] == (1013, "")


def test_our_close_that_is_not_echoed_ends_tcp_after_a_while(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.session.protocol.close_timeout = 0.05
        peer.session.close(4408)
        assert peer.next().code == 4408
        peer.send(frame(TEXT, b"late"), frame(PING, b"alive"))
        assert peer.rest() == [Frame(PONG, b"alive")]
        assert peer.session.end() == []


def test_when_both_close_at_once_tcp_ends(server: ObservedServer) -> None:
    with server.dial(closes_with=1000) as peer:
        peer.send(frame(TEXT, b"go"), close(4001))
        *_, last = peer.rest()
        assert last.opcode == CLOSE
        assert not peer.was_reset
        assert peer.session.end() == ["go"]


# Segments: TCP keeps no bounds of frames


@dataclass(frozen=True)
class Stream:
    """Bytes with what has to become of them; at their end is a close."""

    data: bytes
    messages: list[Message]
    pongs: list[bytes]


MIXED = Stream(
    b"".join(
        [
            frame(TEXT, "héllo".encode()),
            frame(PING, b"p1"),
            frame(TEXT, "fr€".encode()[:4], fin=False),
            frame(PING),
            frame(CONT, fin=False),
            frame(PONG, b"unasked"),
            frame(CONT, "fr€".encode()[4:] + b"end", mask=bytes(4)),
            frame(BINARY, pattern(125)),
            frame(BINARY, pattern(126)),
            frame(BINARY),
            frame(TEXT),
            *fragments(BINARY, [b"\x81\x80", b"\x88\x80"]),
            frame(TEXT, b"wide", wide=2),
            frame(BINARY, b"wider", wide=8),
            frame(PING, b"last"),
            frame(TEXT, b"bye"),
            close(4000, b"done"),
        ]
    ),
    [
        "héllo",
        "fr€end",
        pattern(125),
        pattern(126),
        b"",
        "",
        b"\x81\x80\x88\x80",
        "wide",
        b"wider",
        "bye",
    ],
    [b"p1", b"", b"last"],
)

LONG = Stream(
    b"".join(
        [
            frame(TEXT, b"first"),
            frame(BINARY, pattern(70_000)),
            frame(PING, b"p"),
            frame(TEXT, b"last"),
            close(4000, b"done"),
        ]
    ),
    ["first", pattern(70_000), "last"],
    [b"p"],
)


def plays(server: ObservedServer, stream: Stream, *cuts: int) -> None:
    """Send a stream in segments that the server reads one by one, and judge what becomes of it."""
    bounds = [0, *cuts, len(stream.data)]
    with server.dial() as peer:
        peer.send_apart(*(stream.data[begin:end] for begin, end in itertools.pairwise(bounds)))
        *pongs, last = peer.rest()
        assert pongs == [Frame(PONG, payload) for payload in stream.pongs], cuts
        assert last == Frame(CLOSE, (4000).to_bytes(2) + b"done"), cuts
        assert not peer.was_reset
        assert peer.session.end() == stream.messages, cuts
        assert peer.session.disconnects[0] == (4000, "done")
        if stream is MIXED:
            assert peer.session.protocol.reads == [
                end - begin for begin, end in itertools.pairwise(bounds)
            ]


def test_a_stream_may_be_cut_at_every_byte(server: ObservedServer) -> None:
    for cut in range(1, len(MIXED.data)):
        plays(server, MIXED, cut)


def test_a_stream_may_come_one_byte_at_a_time(server: ObservedServer) -> None:
    plays(server, MIXED, *range(1, len(MIXED.data)))


@pytest.mark.parametrize("size", [2, 3, 5, 7, 13])
def test_a_stream_may_come_a_few_bytes_at_a_time(server: ObservedServer, size: int) -> None:
    plays(server, MIXED, *range(size, len(MIXED.data), size))


def test_a_long_frame_may_be_cut_in_its_header_and_at_the_ends(server: ObservedServer) -> None:
    after = len(frame(TEXT, b"first")) + len(frame(BINARY, pattern(70_000)))
    for cut in [*range(1, 30), 65_535, 65_536, 65_537]:
        plays(server, LONG, cut)
    for cut in range(after - 3, len(LONG.data)):
        plays(server, LONG, cut)


def test_a_long_frame_may_be_cut_twice(server: ObservedServer) -> None:
    for first in (1, 11, 12, 13, 14, 21, 25, 26):
        for second in (first + 1, 30, 65_536, len(LONG.data) - 20):
            plays(server, LONG, first, second)


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize(
    "number",
    [
        *range(MOST_FRAMES_AT_ONCE - 1, MOST_FRAMES_AT_ONCE + 3),
        *range(2 * MOST_FRAMES_AT_ONCE - 1, 2 * MOST_FRAMES_AT_ONCE + 2),
        3_000,
    ],
)
def test_many_frames_in_one_segment_all_arrive_in_order(
    server: ObservedServer, number: int, tail: int
) -> None:
    sent = [b"%d" % n for n in range(number)]
    data = b"".join(frame(BINARY, each) for each in sent)
    last = frame(TEXT, b"cut")
    with server.dial() as peer:
        with server.standing_still():
            peer.send(data, last[:tail])
        until(peer, number)
        assert peer.session.protocol.reads == [len(data) + tail]
        peer.send(last[tail:])
        assert closed(peer, *sent, "cut") == []


def test_many_frames_of_all_kinds_in_one_segment(server: ObservedServer) -> None:
    data: list[bytes] = []
    sent: list[Message] = []
    for n in range(400):
        payload = b"%d" % n
        data += [frame(PING, payload), *fragments(TEXT, [payload[:1], payload[1:]])]
        data += [frame(BINARY, payload)]
        sent += [payload.decode(), payload]
    with server.dial() as peer:
        with server.standing_still():
            peer.send(*data)
        until(peer, len(sent))
        assert peer.session.protocol.reads == [sum(map(len, data))]
        assert closed(peer, *sent) == [Frame(PONG, b"%d" % n) for n in range(400)]


def test_two_connections_do_not_mix_their_bytes(server: ObservedServer) -> None:
    """All connections are read into one buffer."""
    a, b = frame(TEXT, b"a" * 300), frame(BINARY, b"b" * 300)
    with server.dial() as one, server.dial() as other:
        for cut in range(1, len(a)):
            one.send_apart(a[:cut])
            other.send_apart(b[: len(b) - cut])
            one.send_apart(a[cut:])
            other.send_apart(b[len(b) - cut :])
        assert closed(one, *["a" * 300] * (len(a) - 1)) == []
        assert closed(other, *[b"b" * 300] * (len(a) - 1)) == []


def test_connections_read_in_one_turn_do_not_mix_what_is_left_for_later(
    server: ObservedServer,
) -> None:
    with server.dial() as one, server.dial() as other:
        with server.standing_still():
            one.send(frame(TEXT, b"aa") * 2_000, frame(TEXT, b"a" * 300)[:100])
            other.send(frame(BINARY, b"bbbb") * 2_000, frame(BINARY, b"b" * 300)[:200])
        one.send(frame(TEXT, b"a" * 300)[100:])
        other.send(frame(BINARY, b"b" * 300)[200:])
        assert closed(one, *["aa"] * 2_000, "a" * 300) == []
        assert closed(other, *[b"bbbb"] * 2_000, b"b" * 300) == []


# An application that is slow


def is_read(peer: SessionPeer) -> bool:
    return bool(peer.session.protocol.transport.is_reading())


@pytest.mark.parametrize("size", [0, 10, 1_000, 60_000, MAX_BYTES])
@pytest.mark.usefixtures("little_may_wait")
def test_who_is_faster_than_the_application_is_not_read(server: ObservedServer, size: int) -> None:
    number = min(20_000, 20 * WAITING_BYTES // (size + 10))
    sent = [(b"%06d" % n + pattern(size))[:MAX_BYTES] for n in range(number)]
    with server.dial(takes=0) as peer:
        protocol = peer.session.protocol
        peer.send_beside(*(frame(BINARY, each) for each in sent), close(1000))
        wait_for(lambda: protocol.read_paused)
        server.turn(100)  # what was read is parsed to its end
        assert not is_read(peer)
        assert protocol.queue.size > WAITING_BYTES
        stopped_at = peer.session.read_bytes
        assert stopped_at <= WAITING_BYTES + READ_BYTES + size
        if protocol.queue.size > 2 * len(sent[0]):  # more than one waits
            peer.session.take(1)
            wait_for(lambda: peer.session.messages == sent[:1])
            server.turn()
            assert not is_read(peer)
            assert peer.session.read_bytes == stopped_at
        peer.session.take(number + 10)
        assert ended(peer, 1000, *sent) == []
        assert protocol.queue.size == 0


@pytest.mark.usefixtures("little_may_wait")
def test_who_is_not_read_is_read_again_each_time_all_is_taken(server: ObservedServer) -> None:
    piece = [frame(BINARY, pattern(1_000)) for _ in range(66)]
    with server.dial(takes=0) as peer:
        for _ in range(5):
            before = len(peer.session.messages)
            peer.send_beside(*piece)
            wait_for(lambda: peer.session.protocol.read_paused)
            assert not is_read(peer)
            peer.session.take(66)
            until(peer, before + 66)
            server.turn()
            assert is_read(peer)
        peer.session.take(10)
        assert closed(peer, *[pattern(1_000)] * 330) == []


@pytest.mark.usefixtures("little_may_wait")
def test_an_application_may_take_all_before_the_rest_is_parsed(server: ObservedServer) -> None:
    """Each slice alone is too much to be read on, and is taken before the next one is parsed."""
    sent = [b"%04d" % n + bytes(800) for n in range(MOST_FRAMES_AT_ONCE + 8)]
    data = b"".join(frame(BINARY, each) for each in sent)
    assert MOST_FRAMES_AT_ONCE * (804 + MESSAGE_BYTES) > WAITING_BYTES
    with server.dial() as peer:
        for _ in range(3):
            with server.standing_still():
                peer.send(data)
            until(peer, len(peer.session.messages) + len(sent))
        server.turn()
        assert is_read(peer)
        assert closed(peer, *sent * 3) == []
        assert peer.session.protocol.reads[:-1] == [len(data)] * 3


@pytest.mark.usefixtures("little_may_wait")
def test_one_who_is_not_read_does_not_keep_others_waiting(server: ObservedServer) -> None:
    with server.dial(takes=0) as slow, server.dial() as quick:
        slow.send_beside(frame(BINARY, pattern(1_000)) * 500)
        wait_for(lambda: slow.session.protocol.read_paused)
        quick.send(frame(TEXT, b"here"), frame(PING, b"there"))
        assert quick.next() == Frame(PONG, b"there")
        assert closed(quick, "here") == []


# The end without a close


@pytest.mark.parametrize("number", [0, 1, 63, 64, 65, 3_000])
@pytest.mark.parametrize("tail", [b"", b"\x81", frame(TEXT, b"cut")[:8]], ids=bytes.hex)
def test_frames_that_come_with_the_end_of_the_stream_are_delivered(
    server: ObservedServer, number: int, tail: bytes
) -> None:
    sent = [b"%d" % n for n in range(number)]
    with server.dial() as peer:
        with server.standing_still():
            peer.send(*(frame(BINARY, each) for each in sent), tail)
            peer.finish()
        assert peer.rest() == []
        assert peer.session.end() == sent
        assert peer.session.disconnects == [(1005, "")]


@pytest.mark.usefixtures("little_may_wait")
def test_frames_that_wait_when_the_stream_ends_are_delivered(server: ObservedServer) -> None:
    sent = [b"%06d" % n + pattern(1_000) for n in range(500)]
    with server.dial(takes=0) as peer:
        peer.send_beside(*(frame(BINARY, each) for each in sent), frame(TEXT, b"begun", fin=False))
        wait_for(lambda: peer.session.protocol.read_paused)
        peer.session.take(len(sent))
        until(peer, len(sent))
        peer.finish()
        peer.session.take(10)
        assert peer.session.end() == sent
        assert peer.session.disconnects == [(1005, "")]


@pytest.mark.parametrize("tail", [[], [frame(TEXT, b"cut")[:8]], [frame(0x3), frame(TEXT)]])
def test_what_was_read_is_parsed_when_the_connection_is_lost(
    server: ObservedServer, tail: list[bytes]
) -> None:
    """The application, at its first message, has the connection aborted; 2000 are not parsed."""
    sent = [b"%d" % n for n in range(2_000)]
    with server.dial(aborts=True) as peer:
        with server.standing_still():
            peer.send(*(frame(BINARY, each) for each in sent), *tail)
        peer.rest()
        assert peer.session.end() == sent
        assert peer.session.disconnects


def test_a_peer_that_resets_is_told_once(server: ObservedServer) -> None:
    with server.dial() as peer:
        peer.send(frame(TEXT, b"before"))
        wait_for(lambda: peer.session.messages == ["before"])
        peer.reset()
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects == [(1005, "")]


def test_who_pings_and_reads_nothing_is_hung_up_on_without_a_word(server: ObservedServer) -> None:
    with server.dial(receive_buffer=4_096) as peer:
        peer.session.say(bytes(UNREAD_BYTES))
        assert peer.session.protocol.transport.get_write_buffer_size() > MAX_UNREAD_BYTES
        with server.standing_still():
            peer.send(frame(TEXT, b"before"), frame(PING) * 3_000)
        assert peer.session.end() == ["before"]


# A server that shuts down


def test_a_server_that_shuts_down_closes_1012() -> None:
    with ObservedServer() as other, other.dial() as peer:
        peer.send(frame(TEXT, b"before"))
        wait_for(lambda: peer.session.messages == ["before"])
        other.stop()
        assert ended(peer, 1012, "before") == []
        assert other.complaints == []


def test_a_server_shuts_down_though_a_peer_has_closed_and_not_read_its_echo(
    server: ObservedServer,
) -> None:
    """The echo waits behind what the peer has not read: closed, but not lost."""
    with server.dial(receive_buffer=4_096) as peer:
        peer.session.say(bytes(UNREAD_BYTES))
        assert peer.session.protocol.transport.get_write_buffer_size()
        peer.send(close(1000))
        wait_for(lambda: bool(peer.session.disconnects))
        peer.session.shut_down()
        came_whole = ended(peer, 1000) == [Frame(BINARY, bytes(UNREAD_BYTES))]
        assert came_whole  # pytest would compare what came byte by byte, for minutes


# Before the handshake is answered


def test_a_message_sent_before_the_handshake_is_answered_is_kept(server: ObservedServer) -> None:
    with server.dial(accepts=False) as peer:
        peer.send_apart(frame(TEXT, b"early"))
        peer.session.accept()
        peer.shake()
        peer.send(frame(TEXT, b"later"))
        assert closed(peer, "early", "later") == []


@pytest.mark.parametrize("number", [1, 60, 500, 3_000])
def test_what_comes_in_one_segment_with_the_handshake_is_kept(
    server: ObservedServer, number: int
) -> None:
    sent = [b"%d" % n for n in range(number)]
    early = b"".join(frame(BINARY, each) for each in sent)
    with server.dial(early=early) as peer:
        assert closed(peer, *sent) == []


def test_a_handshake_may_be_cut_from_what_comes_behind_it_at_every_byte(
    server: ObservedServer,
) -> None:
    early = frame(TEXT, b"early")
    for cut in range(len(early) + 1):
        with server.dial(early=early[:cut]) as peer:
            peer.send(early[cut:])
            assert closed(peer, "early") == []


@pytest.mark.parametrize(
    "bad",
    [frame(0x3), unmasked(TEXT, b"x"), frame(CONT), close(1005)],
    ids=bytes.hex,
)
def test_nonsense_before_the_handshake_is_answered_ends_the_connection_afterwards(
    server: ObservedServer, bad: bytes
) -> None:
    with server.dial(accepts=False) as peer:
        peer.send_apart(bad)
        peer.session.accept()
        peer.shake()
        assert [reply.opcode for reply in peer.rest()] == [CLOSE]
        assert peer.session.end() == []


def test_a_ping_before_the_handshake_is_answered_is_answered_after_it(
    server: ObservedServer,
) -> None:
    with server.dial(accepts=False) as peer:
        peer.send_apart(frame(PING, b"early"))
        peer.session.accept()
        peer.shake()
        assert peer.next() == Frame(PONG, b"early")


def test_what_comes_before_the_handshake_is_answered_is_not_looked_at(
    server: ObservedServer,
) -> None:
    """Nor does a reset of it have it parsed, whatever it is."""
    with server.dial(accepts=False) as peer:
        peer.send_apart(frame(PING) * 500)
        peer.reset()
        peer.session.accept()
        assert peer.session.end() == []


# Any of it


@dataclass(frozen=True)
class Piece:
    """A message with its fragments, and the pings and pongs in between."""

    is_text: bool
    payload: bytes
    cuts: tuple[int, ...]
    controls: tuple[tuple[int, int, bytes], ...]
    mask: bytes

    @property
    def message(self) -> Message:
        return self.payload.decode() if self.is_text else self.payload

    def frames(self) -> list[tuple[int, bytes, bytes]]:
        """Opcode, payload and bytes of each frame, control frames before the fragment they name."""
        bounds = [0, *self.cuts, len(self.payload)]
        found = []
        for n, (begin, end) in enumerate(itertools.pairwise(bounds)):
            for before, opcode, payload in self.controls:
                if before == n:
                    found.append((opcode, payload, frame(opcode, payload, mask=self.mask)))
            opcode = CONT if n else TEXT if self.is_text else BINARY
            part, fin = self.payload[begin:end], end == len(self.payload) and n == len(self.cuts)
            found.append((opcode, part, frame(opcode, part, fin=fin, mask=self.mask)))
        return found


MASKS = st.one_of(st.just(bytes(4)), st.binary(min_size=4, max_size=4))
SIZES = st.sampled_from([120, 125, 126, 127, 300, 5_000, 65_535, 65_536, 70_000])
CONTROLS = st.tuples(st.integers(0, 4), st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    is_text = draw(st.booleans())
    if is_text:
        payload = draw(st.text(max_size=40)).encode()
    else:
        payload = draw(st.one_of(st.binary(max_size=40), SIZES.map(pattern)))
    cuts = draw(st.lists(st.integers(0, len(payload)), max_size=3))
    controls = draw(st.lists(CONTROLS, max_size=3))
    return Piece(is_text, payload, tuple(sorted(cuts)), tuple(controls), draw(MASKS))


@settings(max_examples=100)
@given(st.lists(pieces(), max_size=8), st.lists(st.floats(0, 1), max_size=6), st.booleans())
def test_whatever_is_sent_arrives_once_and_in_order(
    server: ObservedServer, sent: list[Piece], cuts: list[float], is_late: bool
) -> None:
    frames = [each for piece in sent for each in piece.frames()]
    data = b"".join(each for _, _, each in frames)
    pongs = [Frame(PONG, payload) for opcode, payload, _ in frames if opcode == PING]
    bounds = [0, *sorted(round(cut * len(data)) for cut in cuts), len(data)]
    segments = [data[begin:end] for begin, end in itertools.pairwise(bounds)]
    with server.dial(takes=0 if is_late else None) as peer:
        if is_late:
            peer.send_beside(*segments, close(1000))
            peer.session.take(len(sent) + 2)
        else:
            peer.send_apart(*segments)
            peer.send(close(1000))
        assert ended(peer, 1000, *(piece.message for piece in sent)) == pongs
        assert not peer.was_reset


# The service itself


START = (
    b'{"event":"start","interaction_id":"%b","tenant_id":"tenant-abc",'
    b'"sample_rate":8000,"encoding":"pcm16"}'
)


def test_a_call_in_fragments_between_pings_and_in_small_segments_is_published(
    service: Service, broker: Broker, name: str
) -> None:
    start = START % name.encode()
    spoken = [pcm(n) for n in range(300)]
    data = [*fragments(TEXT, [start[:10], b"", start[10:]]), frame(PING, b"one")]
    for each in spoken:
        data += fragments(BINARY, [each[:7], each[7:]])
        data += [frame(PONG)]
    data += [frame(PING, b"two"), frame(TEXT, b'{"event":"end"}')]
    stream = b"".join(data)
    with Peer(service.port, "/v1/ingest") as peer:
        peer.shake()
        for at in range(0, len(stream), 1_447):
            peer.send(stream[at : at + 1_447])
        replies = [peer.next()]
        while b'"ended"' not in replies[-1].payload:
            replies.append(peer.next())
    pongs = [reply.payload for reply in replies if reply.opcode == PONG]
    assert pongs == [b"one", b"two"]
    assert audio(broker, name) == list(enumerate(spoken))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x3), 1002),
        (unmasked(BINARY, b"xx"), 1002),
        (frame(BINARY, b"xx", rsv=4), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * MAX_FRAGMENTS, 1008),
        (header(BINARY, MAX_BYTES + 1) + MASK, 1009),
        (close(4000), 4000),
    ],
    ids=["opcode", "mask", "rsv", "utf8", "fragments", "size", "close"],
)
def test_a_call_that_breaks_the_protocol_is_closed_with_what_it_said_published(
    service: Service, broker: Broker, name: str, data: bytes, code: int
) -> None:
    with Peer(service.port, "/v1/ingest") as peer:
        peer.shake().send(frame(TEXT, START % name.encode()))
        assert b'"started"' in peer.next().payload
        peer.send(frame(BINARY, pcm(0)), frame(BINARY, pcm(1)), data)
        last = peer.rest()[-1]
        assert (last.opcode, last.code) == (CLOSE, code)
    wait_until(lambda: audio(broker, name) == [(0, pcm(0)), (1, pcm(1))])
