"""Starts that are stored: by another process, or by a sender of this one."""

from application.delivery.live_stream import LiveStream
from application.delivery.log_state import Probe
from application.delivery.pending_start import PendingStart
from application.delivery.sender import Sender
from application.ports.store import Append, Appended, StreamStore
from domain.events import Opening
from domain.head import Access, Head
from domain.starting import Begin, StartRequest, start


async def begin_elsewhere(store: StreamStore, opening: Opening, owner: str) -> Head:
    """Store a start as another process does; return the head after it."""
    stream = opening.stream
    heads = await store.heads([stream])
    (head,) = heads.heads
    assert head is None or isinstance(head, Head)
    begin = start(head, StartRequest(opening, owner, Access.OPEN), heads.now_ms)
    assert isinstance(begin, Begin)
    after = Head(
        f"{owner}:1", begin.lease, begin.begun_at, begin.run, begin.account, begin.first_kept
    )
    expected = None if head is None else head.revision
    (outcome,) = await store.append([Append(stream, expected, begin.segments, after)])
    assert isinstance(outcome, Appended)
    return after


async def hold_a_stream(sender: Sender, store: StreamStore, opening: Opening) -> LiveStream:
    """Have a process hold a stream, by hand: of which its store may lose something."""
    log = sender.log_of(opening.stream)
    request = StartRequest(opening, "owner", Access.OPEN)
    pending = PendingStart(request, 0.0, lambda _: None, log.on_start_given_up)
    log.request_start(pending)
    log.note_start_ready(pending)
    assert isinstance(log.take(), Probe)
    log.settle_probe(None, 0)
    append = log.take()
    assert isinstance(append, Append)
    (outcome,) = await store.append([append])
    log.settle_append(outcome)
    live = await pending.outcome
    assert isinstance(live, LiveStream)
    live.note_caught_up()
    return live
