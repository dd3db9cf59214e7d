"""One stream of a call, from its first message to its end.

    HOLDING ──start granted──▶ CATCHING_UP ──early messages put──▶ LIVE ──end, cut──▶ over

HOLDING: messages wait for the start, which is requested with the first message that it needs.
CATCHING_UP: the start is granted; held messages go to the log bit by bit, and no new ones are read.
LIVE: frames go to the log as they come.
"""

from application.call.closing import SUPERSEDED, CloseCode, CloseReason, closing_of
from application.call.early_messages import EarlyMessage
from application.call.host import Host
from application.call.messages import Audio, End, Refused, SignalMessage
from application.call.start_attempt import Settled
from application.call.stream_messages import StreamMessages
from application.call.stream_start import StreamStart
from application.delivery.live_stream import LiveStream
from application.ports.clock import Instant
from domain.account import State
from domain.events import EndReason
from domain.starting import AwaitFirstFrame


class CallStream(StreamMessages):
    """The stream of one track, which is None for the main stream."""

    def __init__(self, host: Host, track: str | None = None) -> None:
        super().__init__(host, StreamStart(host, track, self._on_settled), track)
        self._telemetry = host.services.telemetry
        self.is_catching_up = False
        """Whether the start is granted, but early messages are not yet in the log."""
        self._deferred_end: EndReason | None = None  # a newer connection sends it too

    @property
    def is_started(self) -> bool:
        """Whether its start has come."""
        return self.start.message is not None

    @property
    def is_starting(self) -> bool:
        """Whether its start has come, but held messages are not yet in the log."""
        return self.is_started and (self.live is None or self.is_catching_up)

    @property
    def is_full(self) -> bool:
        """Whether its sender must not be read.

        While a start waits for its first frame the sender is read: only the frame decides the
        start. While its end is left to a newer connection, the sender is not read.
        """
        if self._deferred_end is not None:
            return True
        if self.is_dropping:
            return False
        if self.live is None:
            return self.start.is_pending and self.start.early.is_full
        return self.live.log.is_full

    @property
    def is_flushed(self) -> bool:
        """Whether everything that can be confirmed is confirmed."""
        live = self.live
        if live is None:
            return not self.start.is_pending
        return live.is_fenced or live.log.is_empty

    @property
    def is_ended(self) -> bool:
        """Whether its end is confirmed."""
        live = self.live
        return live is not None and live.interaction.state is State.ENDED and live.log.is_empty

    def drop(self) -> None:
        """Drop audio as long as the buffer is full; held messages are not dropped."""
        if self.is_full and not self.is_catching_up:
            self.is_dropping = True
            self._tell_dropping()

    async def wait_for_room(self) -> None:
        """Wait until there is room, or until a pending start is settled."""
        if self.live is not None:
            await self.live.log.wait_for_room(self.live)
            self._end_after_all(self.live)
        else:
            await self.start.wait()

    # The start

    def _on_settled(self, settled: Settled) -> None:
        host = self._host
        if isinstance(settled, LiveStream):
            self._go_live(settled)
        elif isinstance(settled, AwaitFirstFrame):
            if not self.start.try_again() and host.is_gone:
                self._discard()
        else:
            closing = closing_of(settled, keeps_on=host.wire.waits_for_broker)
            if closing.code is CloseCode.NOT_ALLOWED:
                self._discard(closing.reason)
            if host.is_gone:
                self._discard()
            host.close(closing)
        host.on_settled()

    def _go_live(self, live: LiveStream) -> None:
        """Write to a granted stream; held messages go first."""
        host = self._host
        self.live, self.is_catching_up = live, True
        self.is_dropping = False  # what is held has its room already
        host.catching_up += 1
        if host.is_gone:
            return
        opening = live.interaction.opening
        self._telemetry.stream_opened(opening.dialect)
        if self.track is None:
            host.on_live(live, self.start.message)
        if live.is_fenced:
            host.close(SUPERSEDED)
            return
        live.listener, live.frames_to_ack = self, self._acks.frames_to_ack
        if self.track is None:
            generation, last_seq = live.lease.generation, live.interaction.last_seq
            host.reply(host.wire.started(opening.interaction_id, generation, last_seq))

    def put_early(self, limit: int) -> None:
        """Put up to `limit` held messages into the log; note when none is left."""
        for _ in range(limit):
            held = self.start.early.release()
            if held is None:
                self._declare_dropped()
                self._note_caught_up()
                return
            self._put(*held)

    def _put(self, message: EarlyMessage, heard: Instant) -> None:
        match message:
            case Audio():
                self.hear(message, heard)
            case SignalMessage():
                self.note(message)
            case Refused():
                self.refuse(message)
            case End(reason) if self._is_requested_elsewhere:
                self._deferred_end = reason
                self._host.note_end(is_deferred=True)
            case End(reason):
                self._declare_dropped()
                self._end(reason)

    @property
    def _is_requested_elsewhere(self) -> bool:
        """Whether the sender has reconnected: its newer connection sends the end too."""
        live = self.live
        comes_back = self._host.wire.comes_back
        return comes_back and live is not None and live.log.is_start_requested

    def _end_after_all(self, live: LiveStream) -> None:
        """End the run if its end was left to a newer connection, and that has failed."""
        reason, self._deferred_end = self._deferred_end, None
        if reason is not None and not live.is_fenced:
            self._host.note_end(is_deferred=False)
            self._end(reason)

    def _declare_dropped(self) -> None:
        """Count messages that were dropped while the start was pending."""
        live = self.live
        if live is None or live.interaction.state is not State.LIVE:
            return
        dropped = self.start.early.take_dropped()
        self._dropped_frames += dropped.frames
        if dropped.frames:
            self._ingest.drop(live, dropped.last_seq, dropped.frames, dropped.first_seq)
        if dropped.duplicates:
            self._ingest.drop(live, dropped.highest_seq, dropped.duplicates)
        for refusal, messages in dropped.refused.items():
            self._ingest.refuse(live, refusal.value, messages=messages)

    def _note_caught_up(self) -> None:
        """Note that all held messages are in the log."""
        self._let_go()
        if self._host.is_gone:
            self.cut()

    def stop_putting(self) -> None:
        """Stop putting held messages into the log: the sender is refused."""
        if self.is_catching_up:
            self._note_caught_up()

    def end(self, reason: EndReason) -> None:
        """End the run; before it is live, the end is held as the last message."""
        if self.live is not None and not self.is_catching_up:
            self._end(reason)
        else:
            self.start.end(reason)

    def _end(self, reason: EndReason) -> None:
        live = self.live
        self._tell_dropped()
        if live is None or live.interaction.state is not State.LIVE:
            return
        if self._host.is_gone and (self._host.wire.comes_back or reason is EndReason.DISCONNECTED):
            self._host.actions.cut(live, reason)  # its sender may not know that all is confirmed
        else:
            self._host.actions.end(live, reason)

    def hurry(self) -> None:
        """Send what is in the log at once, without waiting for more frames."""
        if self.live is not None:
            self.live.log.hurry()

    def release(self, reason: EndReason) -> None:
        """Detach the sender, which is gone. A pending start continues without it."""
        live = self.live
        if live is None:
            if self.start.is_pending:
                self.start.give_up()
            else:
                self._discard()
            return
        self._telemetry.stream_closed(live.interaction.opening.dialect)
        live.listener = None
        if self.is_catching_up:
            return  # what is held is still put
        self.cut(reason)

    def abandon(self) -> None:
        """Cancel everything."""
        self.start.cancel()
        self._let_go()

    def cut(self, reason: EndReason = EndReason.DISCONNECTED) -> None:
        """Have an open run wait for its sender; `reason` ends it if the sender does not resume."""
        live = self.live
        self._tell_dropped()
        if live is not None and live.interaction.state is State.LIVE:
            self._host.actions.cut(live, reason)

    def _discard(self, refused_for: CloseReason | None = None) -> None:
        """Drop held messages, and report earlier drops."""
        self._tell_dropped()
        self.start.discard(refused_for)

    def _let_go(self) -> None:
        """Release the hold; the next start of the stream may be decided."""
        self._discard()
        if self.is_catching_up:
            self.is_catching_up = False
            self._host.catching_up -= 1
        if self.live is not None:
            self.live.note_caught_up()
