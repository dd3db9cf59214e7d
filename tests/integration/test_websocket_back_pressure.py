"""An application that is slower than its peer, and a peer that leaves without a close."""

import pytest
from observed_ends import closed, ended, until
from observed_websocket import MAX_BYTES, ObservedServer, SessionPeer, wait_for
from raw_websocket import BINARY, PING, PONG, TEXT, Frame, close, frame
from waiting import wait_until
from wrong_text import pattern

from adapters.inbound.websocket import inbox
from adapters.inbound.websocket.inbox import MESSAGE_BYTES
from adapters.inbound.websocket.socket_reads import MAX_FRAMES_AT_ONCE, READ_BYTES
from adapters.inbound.websocket.websocket_output import MAX_UNREAD_BYTES

pytestmark = pytest.mark.timeout(30)

UNREAD_BYTES = 16 * 1024 * 1024
"""More than kernels hold for a peer that does not read."""


WAITING_BYTES = 64 * 1024
"""What may wait for a slow application in these tests, however the service is tuned."""


@pytest.fixture
def little_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING_BYTES", WAITING_BYTES)


def is_read(peer: SessionPeer) -> bool:
    return bool(peer.session.protocol.transport.is_reading())


@pytest.mark.parametrize("size", [0, 1_000, MAX_BYTES])
@pytest.mark.usefixtures("little_may_wait")
def test_who_is_faster_than_the_application_is_not_read(
    observed: ObservedServer, size: int
) -> None:
    number = min(20_000, 20 * WAITING_BYTES // (size + 10))
    sent = [(b"%06d" % n + pattern(size))[:MAX_BYTES] for n in range(number)]
    with observed.dial(takes=0) as peer:
        protocol = peer.session.protocol
        peer.send_beside(*(frame(BINARY, each) for each in sent), close(1000))
        wait_for(lambda: protocol.read_paused)
        observed.turn(100)  # what was read is parsed to its end
        assert not is_read(peer)
        assert protocol.queue.waiting_bytes > WAITING_BYTES
        stopped_at = peer.session.read_bytes
        assert stopped_at <= WAITING_BYTES + READ_BYTES + size
        if protocol.queue.waiting_bytes > 2 * len(sent[0]):  # more than one waits
            peer.session.take(1)
            wait_for(lambda: peer.session.messages == sent[:1])
            observed.turn()
            assert not is_read(peer)
            assert peer.session.read_bytes == stopped_at
        peer.session.take(number + 10)
        assert ended(peer, 1000, *sent) == []
        assert protocol.queue.waiting_bytes == 0


@pytest.mark.usefixtures("little_may_wait")
def test_who_is_not_read_is_read_again_each_time_all_is_taken(observed: ObservedServer) -> None:
    piece = [frame(BINARY, pattern(1_000)) for _ in range(66)]
    with observed.dial(takes=0) as peer:
        for _ in range(5):
            before = len(peer.session.messages)
            peer.send_beside(*piece)
            wait_for(lambda: peer.session.protocol.read_paused)
            assert not is_read(peer)
            peer.session.take(66)
            until(peer, before + 66)
            observed.turn()
            assert is_read(peer)
        peer.session.take(10)
        assert closed(peer, *[pattern(1_000)] * 330) == []


@pytest.mark.usefixtures("little_may_wait")
def test_an_application_may_take_all_before_the_rest_is_parsed(observed: ObservedServer) -> None:
    """Each slice alone is too much to be read on, and is taken before the next one is parsed."""
    sent = [b"%04d" % n + bytes(800) for n in range(MAX_FRAMES_AT_ONCE + 8)]
    data = b"".join(frame(BINARY, each) for each in sent)
    assert MAX_FRAMES_AT_ONCE * (804 + MESSAGE_BYTES) > WAITING_BYTES
    with observed.dial() as peer:
        for _ in range(3):
            with observed.standing_still():
                peer.send(data)
            until(peer, len(peer.session.messages) + len(sent))
        observed.turn()
        assert is_read(peer)
        assert closed(peer, *sent * 3) == []
        assert peer.session.protocol.reads[:-1] == [len(data)] * 3


@pytest.mark.usefixtures("little_may_wait")
def test_one_who_is_not_read_does_not_keep_others_waiting(observed: ObservedServer) -> None:
    with observed.dial(takes=0) as slow, observed.dial() as quick:
        slow.send_beside(frame(BINARY, pattern(1_000)) * 500)
        wait_for(lambda: slow.session.protocol.read_paused)
        quick.send(frame(TEXT, b"here"), frame(PING, b"there"))
        assert quick.next() == Frame(PONG, b"there")
        assert closed(quick, "here") == []


@pytest.mark.usefixtures("little_may_wait")
def test_our_close_while_nothing_is_read_reads_its_echo(observed: ObservedServer) -> None:
    data = frame(BINARY, pattern(1_000)) * 200
    with observed.dial(takes=0) as peer:
        peer.send_beside(data, close(1013))
        wait_for(lambda: peer.session.protocol.read_paused)
        peer.session.close(1013)
        assert peer.next().code == 1013
        assert peer.rest() == []
        peer.session.take(1_000)
        taken = peer.session.end()
        assert taken == [pattern(1_000)] * len(taken)
        assert peer.session.disconnects[0] == (1013, "")


# The end without a close


@pytest.mark.usefixtures("little_may_wait")
def test_no_connection_is_kept_that_is_lost_after_its_application(
    observed: ObservedServer,
) -> None:
    with observed.dial(takes=0) as peer:
        protocol = peer.session.protocol
        with observed.standing_still():
            peer.send(*[frame(BINARY, pattern(1_000))] * 100)
        wait_for(lambda: protocol.read_paused)
        observed.turn(100)
        peer.session.leave()
        wait_until(lambda: protocol not in protocol.connections)


@pytest.mark.parametrize("number", [0, 64, 3_000])
@pytest.mark.parametrize("tail", [b"", b"\x81", frame(TEXT, b"cut")[:8]], ids=bytes.hex)
def test_frames_that_come_with_the_end_of_the_stream_are_delivered(
    observed: ObservedServer, number: int, tail: bytes
) -> None:
    sent = [b"%d" % n for n in range(number)]
    with observed.dial() as peer:
        with observed.standing_still():
            peer.send(*(frame(BINARY, each) for each in sent), tail)
            peer.finish()
        assert peer.rest() == []
        assert peer.session.end() == sent
        assert peer.session.disconnects == [(1005, "")]


@pytest.mark.usefixtures("little_may_wait")
def test_frames_that_wait_when_the_stream_ends_are_delivered(observed: ObservedServer) -> None:
    sent = [b"%06d" % n + pattern(1_000) for n in range(500)]
    with observed.dial(takes=0) as peer:
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
    observed: ObservedServer, tail: list[bytes]
) -> None:
    """The application, at its first message, has the connection aborted; 2000 are not parsed."""
    sent = [b"%d" % n for n in range(2_000)]
    with observed.dial(aborts=True) as peer:
        with observed.standing_still():
            peer.send(*(frame(BINARY, each) for each in sent), *tail)
        peer.rest()
        assert peer.session.end() == sent
        assert peer.session.disconnects


def test_a_peer_that_resets_is_told_once(observed: ObservedServer) -> None:
    with observed.dial() as peer:
        peer.send(frame(TEXT, b"before"))
        wait_for(lambda: peer.session.messages == ["before"])
        peer.reset()
        assert peer.session.end() == ["before"]
        assert peer.session.disconnects == [(1005, "")]


def test_who_pings_and_reads_nothing_is_hung_up_on_without_a_word(observed: ObservedServer) -> None:
    with observed.dial(receive_buffer=4_096) as peer:
        peer.session.say(bytes(UNREAD_BYTES))
        assert peer.session.protocol.transport.get_write_buffer_size() > MAX_UNREAD_BYTES
        with observed.standing_still():
            peer.send(frame(TEXT, b"before"), frame(PING) * 3_000)
        assert peer.session.end() == ["before"]
