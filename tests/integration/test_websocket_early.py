"""What a peer sends before its handshake is answered."""

import pytest
from observed_ends import closed
from observed_websocket import ObservedServer
from raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, Frame, close, frame

pytestmark = pytest.mark.timeout(30)


def test_a_message_sent_before_the_handshake_is_answered_is_kept(observed: ObservedServer) -> None:
    with observed.dial(accepts=False) as peer:
        peer.send_apart(frame(TEXT, b"early"))
        peer.session.accept()
        peer.shake()
        peer.send(frame(TEXT, b"later"))
        assert closed(peer, "early", "later") == []


@pytest.mark.parametrize("number", [1, 60, 3_000])
def test_what_comes_in_one_segment_with_the_handshake_is_kept(
    observed: ObservedServer, number: int
) -> None:
    sent = [b"%d" % n for n in range(number)]
    early = b"".join(frame(BINARY, each) for each in sent)
    with observed.dial(early=early) as peer:
        assert closed(peer, *sent) == []


def test_a_handshake_may_be_cut_from_what_comes_after_it_anywhere(
    observed: ObservedServer,
) -> None:
    early = frame(TEXT, b"early")
    for cut in (0, 1, 2, 6, len(early) - 1, len(early)):
        with observed.dial(early=early[:cut]) as peer:
            peer.send(early[cut:])
            assert closed(peer, "early") == []


@pytest.mark.parametrize(
    "bad",
    [frame(0x3), close(1005)],
    ids=bytes.hex,
)
def test_nonsense_before_the_handshake_is_answered_ends_the_connection_afterwards(
    observed: ObservedServer, bad: bytes
) -> None:
    with observed.dial(accepts=False) as peer:
        peer.send_apart(bad)
        peer.session.accept()
        peer.shake()
        assert [reply.opcode for reply in peer.rest()] == [CLOSE]
        assert peer.session.end() == []


def test_a_ping_before_the_handshake_is_answered_is_answered_after_it(
    observed: ObservedServer,
) -> None:
    with observed.dial(accepts=False) as peer:
        peer.send_apart(frame(PING, b"early"))
        peer.session.accept()
        peer.shake()
        assert peer.next() == Frame(PONG, b"early")


def test_what_comes_before_the_handshake_is_answered_is_not_looked_at(
    observed: ObservedServer,
) -> None:
    """Nor does a reset of it have it parsed, whatever it is."""
    with observed.dial(accepts=False) as peer:
        peer.send_apart(frame(PING) * 500)
        peer.reset()
        peer.session.accept()
        assert peer.session.end() == []
