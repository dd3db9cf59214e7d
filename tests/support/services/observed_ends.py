"""What became of a connection of an `ObservedServer` when it is over."""

from observed_websocket import SessionPeer, wait_for
from raw_websocket import CLOSE, Frame, close

Message = str | bytes


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
