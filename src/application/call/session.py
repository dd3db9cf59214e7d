"""The automaton of one connection: it handles messages, and decides when to close.

    state      message             settled        confirmed  fenced,   drain      gone     time
                                                             stalled
    ────────────────────────────────────────────────────────────────────────────────────────────
    SILENT     EARLY               -              -          -         -          done     close
    EARLY      hold; start:        -              -          -         close      done     close
               request, STARTING
    STARTING   hold                LIVE; request  -          -         when LIVE  muted    close
                                   again, or close
    LIVE       judge; end: ENDING  tracks: put,   ack        close     close      cut      close
                                   or close
    ENDING     refuse              tracks: put    at last:   close     -          muted    close
                                                  ended,
                                                  close

Events arrive as `on_…`, and `Actions` carries out the results. *Close* ends the run if its closing
has an end reason, and waits up to `CLOSE_SECONDS` until all received frames are confirmed. Closings
in the wire's `never_closed_with` are ignored. *Drain* closes senders that can resume; others may
continue until it is over, which closes in every state. A start that is *undecided* is requested
again once its first frame is known. When the connection is *gone* there are no replies, closes or
deadlines. A live run is cut. A pending start is not retried; its run is cut after its messages.

A session owns one stream for each track. The main stream, track None, decides the state; others are
opened with their first frame, and end with the main stream.
"""

import logging
from collections.abc import Mapping
from enum import Enum

from application.call.actions import Actions
from application.call.call_stream import CallStream
from application.call.closing import RESTART, CloseCode, CloseReason, Closing, bad_start
from application.call.messages import (
    STARTED_ALREADY,
    Asked,
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from application.call.services import Services
from application.call.session_close import SessionClose
from application.call.tracks import Tracks
from application.call.wire import Wire
from application.delivery.live_stream import LiveStream

MAX_EARLY_AT_ONCE = 100
"""How many early messages go to the log in one turn of the loop."""

_log = logging.getLogger(__name__)


class State(Enum):
    """The state of a session; see the table."""

    SILENT = "silent"
    EARLY = "early"
    STARTING = "starting"
    LIVE = "live"
    ENDING = "ending"


class Session(SessionClose):
    """One connection's side of a call; tested without sockets, in virtual time."""

    def __init__(
        self, services: Services, actions: Actions, token_names: Mapping[str, str]
    ) -> None:
        super().__init__(services, actions, token_names)
        self._tracks = Tracks(self)

    # What it is

    @property
    def state(self) -> State:
        """The row of the table that applies now."""
        main = self._tracks.main
        if main is None:
            return State.SILENT
        if self._closing is not None or self._has_ended:
            return State.ENDING
        if main.live is not None:
            return State.LIVE
        return State.EARLY if not main.is_started else State.STARTING

    @property
    def is_reading(self) -> bool:
        """Whether messages may be handled now."""
        return self._closing is None and not self.catching_up

    @property
    def is_full(self) -> bool:
        """Whether a further message must wait."""
        return not self._has_ended and self._tracks.is_full

    # Messages

    def on_wire(self, wire: Wire) -> None:
        """Set the wire, which the first message has shown; that message follows."""
        self._wire = wire
        self._tracks.begin()
        if self._is_draining and wire.comes_back:
            self.close(RESTART)

    def on_message(self, message: Message) -> bool:
        """Handle a message; return False if no further one may follow now. Set `heard` first."""
        if type(message) is Audio and not self._has_ended:
            stream = self._tracks.streams.get(message.track)
            if stream is not None and (live := stream.live) is not None:
                stream.hear(message)
                if self._closing is None and not live.log.is_full:
                    return True  # as nearly always
                return self.is_reading and not self.is_full
        self._on_other(message)
        return self.is_reading and not self.is_full

    def note_heard(self) -> None:
        """Note that messages have arrived; they follow."""
        self.heard = self.services.clock.instant()
        self._deadlines.heard_at = self.heard.monotonic

    def _on_other(self, message: Message) -> None:
        main = self._tracks.main
        if main is None:
            raise AssertionError("the wire comes before the first message")
        match message:
            case Asked(answer):
                self.reply(answer)
            case Unknown():
                self.services.telemetry.ignored("unknown")
            case Known():
                pass
            case End(reason) if main.is_started and not self._has_ended:
                self._end(reason)
            case End() if self._has_ended:
                pass
            case _ if self._has_ended:
                # The ledger is closed: nothing is counted.
                after = Refused(Refusal.UNEXPECTED_EVENT, "the run has ended")
                self.reply(self.wire.error(after))
            case _ if main.is_started:
                self._on_started_message(main, message)
            case _:
                self._on_first_messages(main, message)

    def _on_first_messages(self, main: CallStream, message: Message) -> None:
        """Handle a message before the start, or the start."""
        match message:
            case Audio() | SignalMessage():
                self._on_early(main, message)
            case Start():
                self._deadlines.note_requested(is_answered=not self.wire.waits_for_broker)
                self._tracks.start(main, message)
            case BadStart(explanation, names):
                self._refuse_start(main, bad_start(explanation, names))
            case Refused(refusal, explanation):
                if self.wire.max_early_messages > 0:
                    self._count_refused(refusal.value)
                else:
                    self._count_refused(CloseReason.BAD_START.value)
                    self._refuse_start(main, bad_start(explanation))
            case End():
                explanation = "ended before it started"
                self.close(Closing(CloseCode.ENDED, CloseReason.NOT_STARTED, explanation))

    def _on_started_message(self, main: CallStream, message: Message) -> None:
        """Handle a message after the start; a stream that is not granted yet holds it."""
        match message:
            case Audio():
                self._tracks.hear(main, message)
            case SignalMessage():
                main.note(message)
            case Start() | BadStart():
                main.refuse(STARTED_ALREADY)
            case Refused():
                main.refuse(message)

    def _on_early(self, main: CallStream, message: Audio | SignalMessage) -> None:
        if self.wire.max_early_messages > 0:
            main.start.hold(message)
            return
        if isinstance(message, Audio):
            self._count_refused(CloseReason.BAD_START.value)
        reason = CloseReason.AUDIO_BEFORE_START
        self._refuse_start(main, bad_start("audio before start", reason=reason))

    def _refuse_start(self, main: CallStream, closing: Closing) -> None:
        main.start.discard(closing.reason)
        self.close(closing)

    def _count_refused(self, reason: str) -> None:
        self.services.telemetry.received()
        self.services.telemetry.frames("rejected", reason=reason)

    # Starts

    def on_settled(self) -> None:
        """Look at the streams again: one may have early messages to be put into the log."""
        self.actions.wake()

    def on_live(self, live: LiveStream, start: Start | None) -> None:
        """Note that the main stream is granted, and report the oddities of its start."""
        self._deadlines.note_live(live.run_started_at, self.services.clock.monotonic())
        if start is not None and start.odd:
            self.actions.report_odd_start(start.odd, self.context)
        for remark in self._remarks:
            _log.warning(remark, extra=self.context)

    def put_early(self) -> None:
        """Put some messages that were held for a granted start into the log."""
        for stream in self._tracks:
            if stream.is_catching_up:
                stream.put_early(MAX_EARLY_AT_ONCE)
            reason = None if self._closing is None else self._closing.reason
            if reason is CloseReason.TOO_MANY_REFUSED and not self.is_gone:
                stream.stop_putting()
        if self.is_catching_up or self.is_gone:
            return
        if self._is_draining and self._continues_elsewhere:
            self.close(RESTART)
        if self._closing is not None:
            self._leave(self._closing)
        self.on_progress()  # the last may be confirmed by now

    # Room

    async def wait_for_room(self) -> None:
        """Wait until there is room in a full stream."""
        await self._tracks.wait_for_room()

    def note_paused(self) -> None:
        """Note that the sender is not read (back-pressure): it cannot be heard."""
        self._deadlines.is_paused = True

    def note_unpaused(self) -> None:
        """Note that the sender is read again: it was not silent."""
        self._deadlines.is_paused = False
        self.note_heard()

    def drop(self) -> None:
        """Drop audio while the buffer is full: the sender must still be read."""
        self._tracks.drop()
