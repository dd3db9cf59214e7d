"""Who closes, what the other hears of it, and when TCP ends."""

import pytest
from observed_ends import ended
from observed_websocket import ObservedServer, wait_for
from raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    close,
    fragments,
    frame,
    header,
    unmasked,
)
from wrong_text import pattern

from adapters.inbound.websocket.frame_reader import MAX_FRAGMENTS
from adapters.inbound.websocket.socket_reads import MAX_FRAMES_AT_ONCE

pytestmark = pytest.mark.timeout(30)

UNREAD_BYTES = 16 * 1024 * 1024
"""More than kernels hold for a peer that does not read."""


# The peer's end: what it must not send is closed with a code, its close is echoed


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(0x3), 1002),
        (unmasked(TEXT, b"x"), 1002),
        (close(1005), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, fin=False) + frame(CONT, fin=False) * MAX_FRAGMENTS, 1008),
        (header(BINARY, 2**63) + MASK, 1009),
    ],
    ids=["opcode", "mask", "code", "utf8", "fragments", "size"],
)
def test_what_must_not_be_sent_is_closed_with_a_code(
    observed: ObservedServer, bad: bytes, code: int
) -> None:
    """Which frames these are is the reader's to know (test_frame_rules.py)."""
    with observed.dial() as peer:
        peer.send(frame(TEXT, b"before"), frame(PING, b"p"), bad)
        assert ended(peer, code, "before") == [Frame(PONG, b"p")]


@pytest.mark.parametrize("reason", ["", "grüße", "r" * 123], ids=len)
@pytest.mark.parametrize("code", [1000, 4409])
def test_a_close_is_echoed_and_told(observed: ObservedServer, code: int, reason: str) -> None:
    with observed.dial() as peer:
        peer.send(frame(TEXT, b"before"), close(code, reason.encode()))
        assert peer.rest() == [Frame(CLOSE, code.to_bytes(2) + reason.encode())]
        assert not peer.was_reset
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects[0] == (code, reason)


def test_a_close_without_a_code_is_echoed_without(observed: ObservedServer) -> None:
    with observed.dial() as peer:
        peer.send(frame(CLOSE))
        assert peer.rest() == [Frame(CLOSE, b"")]
        assert not peer.was_reset
        assert peer.session.end() == []
        assert peer.session.disconnects[0] == (1005, "")


@pytest.mark.parametrize("end", [close(1000), frame(0x3)], ids=bytes.hex)
def test_nothing_after_the_end_is_delivered_or_answered(
    observed: ObservedServer, end: bytes
) -> None:
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
    with observed.dial() as peer:
        peer.send(frame(TEXT, b"before"), end, *after)
        (last,) = peer.rest()
        assert last.opcode == CLOSE
        assert peer.session.end() == ["before"]
        told, _ = peer.session.disconnects
        assert told[0] == last.code


@pytest.mark.parametrize("end", [close(1000), frame(0x3), frame(TEXT, b"\xff")], ids=bytes.hex)
@pytest.mark.parametrize("before", [1, 63, 64, 600])
def test_the_end_may_come_anywhere_in_a_long_segment(
    observed: ObservedServer, end: bytes, before: int
) -> None:
    sent = [b"%d" % n for n in range(before)]
    data = b"".join(frame(BINARY, each) for each in sent) + end + frame(TEXT, b"after") * 600
    with observed.dial() as peer:
        with observed.standing_still():
            peer.send(data)
        (last,) = peer.rest()
        assert last.opcode == CLOSE
        assert peer.session.end() == sent
        assert peer.session.protocol.reads == [len(data)]


# Our close, 7.1


@pytest.mark.parametrize("code", [1000, 4409])
@pytest.mark.parametrize("reason", ["", "é" * 61], ids=len)
def test_our_close_waits_for_its_echo(observed: ObservedServer, code: int, reason: str) -> None:
    with observed.dial() as peer:
        peer.session.close(code, reason)
        assert peer.next() == Frame(CLOSE, code.to_bytes(2) + reason.encode())
        observed.turn()
        assert not peer.session.protocol.transport.is_closing()
        peer.send(close(code, reason.encode()))
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == []
        assert peer.session.disconnects[0] == (code, reason)


@pytest.mark.parametrize("echo", [close(4400), frame(CLOSE), close(1000, b"ok")], ids=bytes.hex)
def test_what_comes_between_our_close_and_its_echo_is_dropped(
    observed: ObservedServer, echo: bytes
) -> None:
    with observed.dial() as peer:
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
        observed.turn()
        assert not peer.session.protocol.transport.is_closing()
        peer.send(echo)
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects[0] == (4400, "")


@pytest.mark.parametrize("cut", [1, 6, 7, 207])
def test_our_close_may_fall_into_a_frame(observed: ObservedServer, cut: int) -> None:
    late = frame(BINARY, pattern(200))
    with observed.dial() as peer:
        peer.send_apart(frame(TEXT, b"before") + late[:cut])
        peer.session.close(1012)
        assert peer.next().code == 1012
        peer.send(late[cut:], close(1012))
        assert peer.rest() == []
        assert peer.session.end() == ["before"]


def test_our_close_in_the_middle_of_a_long_segment_ends_by_its_echo(
    observed: ObservedServer,
) -> None:
    data = frame(TEXT, b"x") * 3_000
    with observed.dial(closes_with=4403) as peer:
        with observed.standing_still():
            peer.send(data)
        assert peer.next().code == 4403
        peer.send(frame(TEXT, b"late") * 1_000, close(4403))
        assert peer.rest() == []
        assert not peer.was_reset
        assert peer.session.end() == ["x"] * MAX_FRAMES_AT_ONCE
        assert peer.session.disconnects[0] == (4403, "")


def test_our_close_that_is_not_echoed_ends_tcp_after_a_while(observed: ObservedServer) -> None:
    with observed.dial() as peer:
        peer.session.protocol.close_timeout = 0.05
        peer.session.close(4408)
        assert peer.next().code == 4408
        peer.send(frame(TEXT, b"late"), frame(PING, b"alive"))
        assert peer.rest() == [Frame(PONG, b"alive")]
        assert peer.session.end() == []


def test_when_both_close_at_once_tcp_ends(observed: ObservedServer) -> None:
    with observed.dial(closes_with=1000) as peer:
        peer.send(frame(TEXT, b"go"), close(4001))
        *_, last = peer.rest()
        assert last.opcode == CLOSE
        assert not peer.was_reset
        assert peer.session.end() == ["go"]


# A server that shuts down


def test_a_server_that_shuts_down_closes_1012() -> None:
    with ObservedServer() as other, other.dial() as peer:
        peer.send(frame(TEXT, b"before"))
        wait_for(lambda: peer.session.messages == ["before"])
        other.stop()
        assert ended(peer, 1012, "before") == []
        assert other.complaints == []


def test_a_server_shuts_down_though_a_peer_has_closed_and_not_read_its_echo(
    observed: ObservedServer,
) -> None:
    """The echo waits until the peer has read what came before: closed, but not lost."""
    with observed.dial(receive_buffer=4_096) as peer:
        peer.session.say(bytes(UNREAD_BYTES))
        assert peer.session.protocol.transport.get_write_buffer_size()
        peer.send(close(1000))
        wait_for(lambda: bool(peer.session.disconnects))
        peer.session.shut_down()
        came_whole = ended(peer, 1000) == [Frame(BINARY, bytes(UNREAD_BYTES))]
        assert came_whole  # pytest would compare what came byte by byte, for minutes
