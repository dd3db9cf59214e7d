"""What is read from sockets becomes messages and answers, whatever comes in one read."""

import pytest
from observed_ends import Message, closed, ended, until
from observed_websocket import MAX_BYTES, ObservedServer
from raw_websocket import BINARY, CONT, PING, PONG, TEXT, Frame, close, fragments, frame
from wrong_text import pattern

from adapters.inbound.websocket.socket_reads import MAX_FRAMES_AT_ONCE

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, MAX_BYTES])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_each_length_arrives_and_goes_back(
    observed: ObservedServer, opcode: int, size: int
) -> None:
    def read(payload: bytes) -> Message:
        return payload.decode() if opcode == TEXT else payload

    sent = pattern(size)
    with observed.dial(echoes=True) as peer:
        peer.send_beside(frame(opcode, sent), frame(opcode, b"next"))
        assert peer.next() == Frame(opcode, sent)
        assert peer.next() == Frame(opcode, b"next")
        assert closed(peer, read(sent), read(b"next")) == []


@pytest.mark.parametrize("size", [0, 125])
def test_a_ping_is_answered_by_a_pong_with_its_payload(observed: ObservedServer, size: int) -> None:
    payload = bytes(reversed(range(256)))[:size]
    with observed.dial() as peer:
        peer.send(frame(PING, payload))
        assert peer.next() == Frame(PONG, payload)
        assert closed(peer) == []


def test_a_pong_that_was_not_asked_for_is_ignored(observed: ObservedServer) -> None:
    pong = frame(PONG, b"never asked for")
    with observed.dial() as peer:
        peer.send(pong, frame(TEXT, b"fr", fin=False), pong, frame(CONT, b"agment"), pong)
        assert closed(peer, "fragment") == []


def test_a_stream_may_come_one_byte_at_a_time(observed: ObservedServer) -> None:
    """Each byte is a read of its own; cuts anywhere are the reader's (test_frame_cuts.py)."""
    data = b"".join([
        frame(TEXT, "héllo".encode()),
        frame(PING, b"p1"),
        frame(TEXT, b"fr", fin=False),
        frame(PONG, b"unasked"),
        frame(CONT, b"agment"),
        frame(BINARY, pattern(126)),
        close(4000, b"done"),
    ])  # fmt: skip
    with observed.dial() as peer:
        peer.send_apart(*(bytes([byte]) for byte in data))
        assert ended(peer, 4000, "héllo", "fragment", pattern(126)) == [Frame(PONG, b"p1")]
        assert not peer.was_reset
        assert peer.session.protocol.reads == [1] * len(data)


@pytest.mark.parametrize("tail", [0, 1, 7])
@pytest.mark.parametrize(
    "number", [MAX_FRAMES_AT_ONCE - 1, MAX_FRAMES_AT_ONCE, MAX_FRAMES_AT_ONCE + 1, 3_000]
)
def test_many_frames_in_one_segment_all_arrive_in_order(
    observed: ObservedServer, number: int, tail: int
) -> None:
    sent = [b"%d" % n for n in range(number)]
    data = b"".join(frame(BINARY, each) for each in sent)
    last = frame(TEXT, b"cut")
    with observed.dial() as peer:
        with observed.standing_still():
            peer.send(data, last[:tail])
        until(peer, number)
        assert peer.session.protocol.reads == [len(data) + tail]
        peer.send(last[tail:])
        assert closed(peer, *sent, "cut") == []


def test_many_frames_of_all_kinds_in_one_segment(observed: ObservedServer) -> None:
    data: list[bytes] = []
    sent: list[Message] = []
    for n in range(400):
        payload = b"%d" % n
        data += [frame(PING, payload), *fragments(TEXT, [payload[:1], payload[1:]])]
        data += [frame(BINARY, payload)]
        sent += [payload.decode(), payload]
    with observed.dial() as peer:
        with observed.standing_still():
            peer.send(*data)
        until(peer, len(sent))
        assert peer.session.protocol.reads == [sum(map(len, data))]
        assert closed(peer, *sent) == [Frame(PONG, b"%d" % n) for n in range(400)]


def test_two_connections_do_not_mix_their_bytes(observed: ObservedServer) -> None:
    """All connections are read into one buffer."""
    a, b = frame(TEXT, b"a" * 300), frame(BINARY, b"b" * 300)
    with observed.dial() as one, observed.dial() as other:
        for cut in range(1, len(a)):
            one.send_apart(a[:cut])
            other.send_apart(b[: len(b) - cut])
            one.send_apart(a[cut:])
            other.send_apart(b[len(b) - cut :])
        assert closed(one, *["a" * 300] * (len(a) - 1)) == []
        assert closed(other, *[b"b" * 300] * (len(a) - 1)) == []


def test_connections_read_in_one_turn_do_not_mix_what_is_left_for_later(
    observed: ObservedServer,
) -> None:
    with observed.dial() as one, observed.dial() as other:
        with observed.standing_still():
            one.send(frame(TEXT, b"aa") * 2_000, frame(TEXT, b"a" * 300)[:100])
            other.send(frame(BINARY, b"bbbb") * 2_000, frame(BINARY, b"b" * 300)[:200])
        one.send(frame(TEXT, b"a" * 300)[100:])
        other.send(frame(BINARY, b"b" * 300)[200:])
        assert closed(one, *["aa"] * 2_000, "a" * 300) == []
        assert closed(other, *[b"bbbb"] * 2_000, b"b" * 300) == []
