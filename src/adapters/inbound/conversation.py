"""One connection from its first message to its close.

The sender is read in one loop, and nothing that it says is waited for: a start is tried beside the
loop, audio and the end are put on their way. What does not come from the sender (a start that is
published, an end that is confirmed, time that ran out, a newer generation) interrupts the loop
through one alarm, so that no timer is set per frame.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from adapters.inbound.calls import Calls
from adapters.inbound.close_codes import CloseCode, CloseReason, Closing, Leaving
from adapters.inbound.dialects import (
    Decoder,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.dialects.messages import (
    STARTED_ALREADY,
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalSaid,
    Start,
    Unknown,
    refusal_of,
)
from adapters.inbound.origin import Origin
from adapters.inbound.replies import PEER_GONE, Replies
from adapters.inbound.starting import Starting
from application.call_context import call_context
from application.delivery.live_stream import LiveStream
from domain.access import Sender
from domain.account import State
from domain.errors import InvalidAudio, InvalidSequenceNumber
from domain.events import EndReason

CLOSE_SECONDS = 5.0
"""How long what is received may take to be confirmed before we close all the same; when the
service drains, it may take as long as that."""

AFTER_DRAIN_SECONDS = 2.0
"""How long it may take once the drain is over."""

STANDSTILL_SECONDS = 0.5
"""An alarm that rings so much too late says that the event loop stood still."""

MAX_DUPLICATES_IN_A_ROW = 50
"""More say that the sender's counter began anew: it is told."""

UNREAD_SECONDS = 5.0
"""How long a sender that is never hung up on is not read when buffers are full; then its audio is
dropped: a carrier that cannot send ends the call."""

TAKEN_AT_ONCE = 32
"""Messages that have come which are taken in in one turn of the loop."""

_log = logging.getLogger(__name__)

SendMessage = Callable[[Any], Awaitable[None]]


class Peer(Protocol):
    """The other side of the connection, by the direct ways of our WebSocket class."""

    last_words: Callable[[], str | None] | None
    """Asked for what is still to be said before the connection is closed for a broken frame."""

    on_closed: Callable[[Closing], None] | None
    """Told when the connection is closed for a broken frame, or because the server stops."""

    def take(self) -> tuple[bool, bytes] | None:
        """Return a message that has come: whether it is text, then in UTF-8, and its bytes."""
        ...

    async def listen(self, take_in: Callable[[], bool]) -> bool:
        """Call `take_in` whenever messages have come, until that returns False.

        Return False when none will come any more.
        """
        ...

    def say(self, text: str) -> bool:
        """Send text now; False if that is not possible."""
        ...


class Conversation:
    """Reads one sender and answers it. `send` is ASGI's."""

    def __init__(
        self,
        calls: Calls,
        sender: Sender,
        origin: Origin,
        query: Mapping[str, str],
        peer: Peer,
        send: SendMessage,
    ) -> None:
        self._calls = calls
        self._sender = sender
        self._origin = origin
        self._query = query
        self._peer = peer
        peer.last_words = self._last_ack
        peer.on_closed = self._on_closed
        self._send = send
        self._replies = Replies(peer.say, self._send_text, self._on_unread)
        self._dialect: Dialect | None = None
        self._decoder: Decoder | None = None
        self._starting: Starting | None = None
        self._stream: LiveStream | None = None
        self._heard = calls.clock.instant()
        self._opened_at = self._heard.monotonic
        self._remarks: dict[str, None] = {}
        self._refused_in_a_row = 0
        self._duplicates_in_a_row = 0
        self._duplicates_below = 0
        self._unacked = 0
        self._acked_seq: int | None = None
        self._interruption: Closing | None = None
        self._alarm: asyncio.Timeout | None = None
        self._is_over = False
        self._is_unread = False
        self._is_dropping = False
        self._reason_if_lost = EndReason.DISCONNECTED
        self._is_draining = False
        self._closed_by_protocol: Closing | None = None
        self._failure: Exception | None = None
        self._patience = CLOSE_SECONDS

    async def run(self) -> None:
        """Hold the conversation until the connection is closed, by either side."""
        try:
            closing = await self._hold()
            if closing is not None:
                await self._close(closing)
            elif self._closed_by_protocol is None and self._is_before_start:
                self._calls.reports.left(Leaving.BEFORE_START, self._origin, self.context)
        finally:
            if self._closed_by_protocol is not None:
                self._report(self._closed_by_protocol)
            await self._replies.close()

    # What comes from elsewhere

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """Acknowledge what is published. See `DeliveryListener`."""
        self._unacked += frames
        if 0 < self._calls.ack_interval <= self._unacked:
            self._ack(last_seq)
        if self._is_over and self._stream is not None and self._stream.log.is_empty:
            self._interrupt(_ENDED)

    def on_fenced(self) -> None:
        """Close: a newer connection holds the stream. See `DeliveryListener`."""
        self._interrupt(_SUPERSEDED)

    def on_stalled(self) -> None:
        """Close: nothing is confirmed. See `DeliveryListener`."""
        self._interrupt(_NOT_CONFIRMED)

    def on_drain(self) -> None:
        """Close, for the sender to go on elsewhere, unless it would not come back.

        Now; or once the start is published that it has said.
        """
        self._is_draining = True
        self._patience = max(self._calls.limits.drain_seconds, CLOSE_SECONDS)
        is_starting = self._starting is not None and self._starting.start is not None
        if self._goes_on_elsewhere and not is_starting:
            self._interrupt(_RESTART)

    @property
    def dialect(self) -> str:
        """The name of the dialect, once it is known."""
        return "unknown" if self._dialect is None else self._dialect.name

    @property
    def call(self) -> Mapping[str, object] | None:
        """Which call it is, for the log; None if none has begun, or its end has come."""
        if self._stream is None or self._is_over:
            return None
        return call_context(self._stream.interaction.opening)

    @property
    def _is_before_start(self) -> bool:
        """Whether no start has come yet."""
        return self._stream is None and (self._starting is None or self._starting.start is None)

    @property
    def _goes_on_elsewhere(self) -> bool:
        """Whether it comes back when it is closed, and has not said all."""
        return self._dialect is not None and self._dialect.comes_back and not self._is_over

    def on_drain_over(self) -> None:
        """End the run and close now, whoever it is: there is no time to wait for the broker."""
        self._patience = AFTER_DRAIN_SECONDS
        self._interrupt(_SHUTDOWN)

    def _on_unread(self) -> None:
        self._interrupt(_REPLIES_UNREAD)

    def _interrupt(self, closing: Closing) -> None:
        if self._dialect is not None and closing.code in self._dialect.never_closed_with:
            return
        self._interruption = self._interruption or closing
        self._wake()

    def _wake(self) -> None:
        """Have the loop look up from listening."""
        if self._alarm is not None and not self._alarm.expired():
            self._alarm.reschedule(asyncio.get_running_loop().time())

    # The loop

    async def _hold(self) -> Closing | None:
        """Return how to close; None when the sender is gone already."""
        try:
            closing = await self._converse()
            return await self._take_leave(closing)
        except Exception as error:  # noqa: BLE001  # a bug ends this call, not the others
            self._failure = error
            return _BUG
        finally:
            self._let_go()

    async def _converse(self) -> Closing | None:
        """Listen until there is a reason to close, or the sender has left."""
        while True:
            closing = self._interruption or await self._take_up_start()
            self._note_standstill()
            closing = closing or self._overdue()
            if closing is not None:
                return closing
            try:
                async with asyncio.timeout(self._seconds_left()) as self._alarm:
                    return await self._listen()
            except TimeoutError:
                continue
            finally:
                self._alarm = None

    async def _listen(self) -> Closing | None:
        """Take in what is said until it is a reason to close; None: the sender has left."""
        while True:
            if not self._has_room:
                await self._wait_for_room()
                if self._interruption is not None:
                    return self._interruption
            is_there = await self._peer.listen(self._take_in)
            if self._interruption is not None or not is_there:
                return self._interruption

    def _take_in(self) -> bool:
        """Take in what has come; False when it is enough: there is no room, or a reason to close.

        Called when the socket is read, and again when there was more than is taken at once.
        """
        self._heard = self._calls.clock.instant()
        for _ in range(TAKEN_AT_ONCE):
            said = self._peer.take()
            if said is None:
                break
            is_text, raw = said
            decoder = self._decoder or self._begin(raw.decode() if is_text else raw)
            if decoder is not None:
                message = decoder.decode_text(raw) if is_text else decoder.decode_binary(raw)
                stream = self._stream
                if stream is not None and type(message) is Audio:
                    self._on_audio(stream, message)
                    if self._interruption is None and not stream.log.is_full:
                        continue  # as nearly always
                else:
                    self._on_other(message)
            if self._interruption is not None or not self._has_room:
                return False
        return self._has_room

    def _begin(self, first: str | bytes) -> Decoder | None:
        """Choose the dialect by the first message; None if that is a reason to close."""
        try:
            self._dialect = recognise(first, self._calls.dialects)
        except FirstMessageNotJson as why:
            self._interruption = Closing(CloseCode.INVALID_DATA, CloseReason.NOT_JSON, str(why))
            return None
        except UnknownDialect as why:
            self._interruption = Closing(CloseCode.BAD_START, CloseReason.UNKNOWN_DIALECT, str(why))
            return None
        if self._is_draining and self._dialect.comes_back:
            self._interruption = _RESTART
            return None
        self._decoder = self._dialect.decoder(self._query, self._remark)
        self._starting = Starting(
            self._calls, self._sender, self._dialect, self._wake, self._origin.context()
        )
        return self._decoder

    @property
    def _speaking(self) -> Dialect:
        if self._dialect is None:
            raise AssertionError("the dialect is chosen with the first message")
        return self._dialect

    # Room

    @property
    def _has_room(self) -> bool:
        if self._replies.is_full:
            return False
        stream = self._stream
        if stream is not None:
            return not stream.log.is_full or self._is_dropping or self._is_over
        return self._starting is None or not self._starting.is_full or self._is_dropping

    async def _wait_for_room(self) -> None:
        """Do not read; but read on and drop, after a while, who cannot wait."""
        self._is_unread = True
        waits = UNREAD_SECONDS if self._speaking.waits_for_broker else None
        try:
            async with asyncio.timeout(waits):
                if self._stream is not None:
                    await self._stream.log.wait_for_room(self._stream)
                elif self._starting is not None:
                    await self._starting.wait_for_room()
                if self._replies.is_full:
                    await self._replies.flush()
        except TimeoutError:
            self._is_dropping = True
        finally:
            self._is_unread = False
            self._heard = self._calls.clock.instant()  # we did not listen: that is no silence

    # What the sender says

    def _on_audio(self, stream: LiveStream, message: Audio) -> None:
        if self._is_over:
            self._answer_after_end()
            return
        if self._is_dropping and not self._has_room_again(stream):
            self._calls.ingest.drop(stream, message.seq)
            return
        try:
            is_new = self._calls.ingest(stream, message.seq, message.audio, self._heard)
        except (InvalidAudio, InvalidSequenceNumber) as why:
            self._refuse(Refused(refusal_of(why), str(why)), message)
        else:
            self._refused_in_a_row = 0
            if not is_new:
                self._on_duplicate(stream, message)

    def _on_duplicate(self, stream: LiveStream, message: Audio) -> None:
        if stream.log.is_empty and not stream.is_fenced:
            self.on_confirmed(1, stream.published.last_seq)
        expected = stream.interaction.unnumbered_seq
        if expected != self._duplicates_below:  # a new frame came since
            self._duplicates_below, self._duplicates_in_a_row = expected, 0
        self._duplicates_in_a_row += 1
        if self._duplicates_in_a_row == MAX_DUPLICATES_IN_A_ROW + 1:
            self._remark(_ROW_OF_DUPLICATES)
            explanation = f"{_ROW_OF_DUPLICATES}: go on from {expected}, or end and start a new run"
            refused = Refused(Refusal.INVALID_SEQ, explanation, message.seq)
            self._replies.put(self._speaking.error(refused))

    def _has_room_again(self, stream: LiveStream) -> bool:
        self._is_dropping = stream.log.is_full
        return not self._is_dropping

    def _on_other(self, message: Message) -> None:
        if self._stream is not None:
            self._on_message(self._stream, message)
            return
        if self._starting is None:
            raise AssertionError("starting begins with the first message")
        if self._is_dropping and isinstance(message, Audio | SignalSaid):
            self._starting.drop(message)
        else:
            self._interruption = self._starting.take(message) or self._interruption

    def _on_message(self, stream: LiveStream, message: Message) -> None:
        match message:
            case Audio():
                self._on_audio(stream, message)
            case End(reason):
                self._end(stream, reason)
            case Unknown():
                self._calls.telemetry.ignored("unknown")
            case SignalSaid() | Start() | BadStart() | Refused() if self._is_over:
                self._answer_after_end()
            case SignalSaid(signal, details):
                if self._is_dropping:
                    self._calls.telemetry.ignored("no_room")
                else:
                    self._calls.ingest.note(stream, signal, details)
            case Start() | BadStart():
                self._refuse(STARTED_ALREADY)
            case Refused():
                self._refuse(message)

    def _answer_after_end(self) -> None:
        """Answer what is said after the end; the ledger is closed, nothing is counted."""
        refused = Refused(Refusal.UNEXPECTED_EVENT, "the run has ended")
        self._replies.put(self._speaking.error(refused))

    async def _take_up_start(self) -> Closing | None:
        """Go on with a start that is settled: say again what was held meanwhile."""
        if self._stream is not None or self._starting is None:
            return None
        outcome = self._starting.outcome()
        if outcome is None or isinstance(outcome, Closing):
            return outcome
        self._on_started(outcome)
        async for held in self._starting.held():
            if isinstance(held, End):
                self._starting.declare_dropped(outcome)
            self._on_message(outcome, held)
            if self._interruption is not None and self._interruption.code is CloseCode.POLICY:
                self._starting.settle()  # of which no more is heard
        if not self._is_over:
            self._starting.declare_dropped(outcome)
        self._starting.settle()
        self._starting = None
        if self._is_draining and self._goes_on_elsewhere:
            self._interrupt(_RESTART)
        return self._interruption

    def _on_started(self, stream: LiveStream) -> None:
        self._stream = stream
        interaction = stream.interaction
        self._calls.telemetry.stream_opened(interaction.opening.dialect)
        start = None if self._starting is None else self._starting.start
        if start is not None and start.odd:
            self._calls.reports.odd_start(start.odd, self._origin, self.context)
        for remark in self._remarks:
            _log.warning(remark, extra=call_context(interaction.opening))
        if stream.is_fenced:
            self._interrupt(_SUPERSEDED)
            return
        stream.listener = self
        self._replies.put(
            self._speaking.started(
                interaction.opening.interaction_id, stream.lease.generation, interaction.last_seq
            )
        )

    def _remark(self, remark: str) -> None:
        """Log what is odd about the call, each once; what is remarked before it is started, then.

        The texts are of a closed set, which bounds them.
        """
        if remark not in self._remarks:
            self._remarks[remark] = None
            if self._stream is not None:
                _log.warning(remark, extra=call_context(self._stream.interaction.opening))

    def _refuse(self, refused: Refused, audio: Audio | None = None) -> None:
        """Count and answer a message that cannot be used; each kind is logged once."""
        stream = self._stream
        if stream is None:
            raise AssertionError("before start a refused message closes the connection")
        self._remark(f"refused: {refused.explanation}")
        seq = refused.seq
        unnumbered = False
        if audio is not None:
            unnumbered = audio.seq is None
            seq = stream.interaction.unnumbered_seq if unnumbered else audio.seq
        self._calls.ingest.refuse(stream, refused.refusal.value, unnumbered=unnumbered)
        self._replies.put(self._speaking.error(Refused(refused.refusal, refused.explanation, seq)))
        self._refused_in_a_row += 1
        most = self._speaking.most_refused_in_a_row
        if most is not None and self._refused_in_a_row > most:
            self._interrupt(
                Closing(
                    CloseCode.POLICY,
                    CloseReason.TOO_MANY_REFUSED,
                    f"more than {most} messages refused in a row, the last: {refused.explanation}",
                )
            )

    def _ack(self, last_seq: int | None) -> None:
        """Acknowledge what is published and not yet acknowledged, if there is any."""
        self._replies.put_ack(self._due_ack(last_seq))

    def _last_ack(self) -> str | None:
        """Return the ack that is due before the connection is closed for a broken frame."""
        return None if self._stream is None else self._due_ack(self._stream.published.last_seq)

    def _due_ack(self, last_seq: int | None) -> str | None:
        if self._calls.ack_interval == 0 or self._unacked == 0:
            return None
        self._unacked = 0
        if last_seq is None or last_seq == self._acked_seq:
            return None
        self._acked_seq = last_seq
        return self._speaking.ack(last_seq)

    # Time

    def _seconds_left(self) -> float:
        return max(0.0, self._due_at() - self._calls.clock.monotonic())

    def _due_at(self) -> float:
        limits = self._calls.limits
        if self._stream is None:
            if self._starting is not None and self._starting.start is not None:
                waits = limits.call_seconds if self._is_unread else limits.idle_seconds
                return self._heard.monotonic + waits
            return self._opened_at + limits.start_seconds
        too_long_at = self._stream.run_started_at + limits.call_seconds
        if self._is_over or self._is_unread:
            return too_long_at
        return min(self._heard.monotonic + limits.idle_seconds, too_long_at)

    def _note_standstill(self) -> None:
        """Have the time in which this process stood still not count as the sender's silence."""
        now = self._calls.clock.instant()
        if now.monotonic - self._due_at() > STANDSTILL_SECONDS:
            self._heard = now

    def _overdue(self) -> Closing | None:
        if self._seconds_left() > 0:
            return None
        if self._stream is None:
            return _NO_START
        now = self._calls.clock.monotonic()
        is_too_long = now >= self._stream.run_started_at + self._calls.limits.call_seconds
        return _TOO_LONG if is_too_long else _IDLE

    # The end

    def _end(self, stream: LiveStream, reason: EndReason) -> None:
        """Send the end on its way; when it is confirmed the loop is interrupted."""
        if not self._is_over:
            self._is_over = True
            self._calls.end(stream, reason)

    async def _take_leave(self, closing: Closing | None) -> Closing | None:
        """Do what is owed to the sender before the connection is closed."""
        stream = self._stream
        if closing is not None and closing.code is CloseCode.NOT_CONFIRMED:
            self._reason_if_lost = EndReason.BROKER_LOST
        if closing is None:
            return None
        if stream is None:
            if closing.end is not None and self._starting is not None:
                self._starting.end(closing.end)
            return closing
        if closing.end is not None:
            self._end(stream, closing.end)
        if closing.code is not CloseCode.NOT_CONFIRMED:
            async with _at_most(self._patience):
                await stream.log.wait_until_empty(stream)
        self._ack(stream.published.last_seq)
        if self._is_over and stream.log.is_empty and not stream.is_fenced:
            opening, ledger = stream.interaction.opening, stream.interaction.ledger
            self._replies.put(self._speaking.ended(opening.interaction_id, ledger))
        return closing

    def _let_go(self) -> None:
        stream = self._stream
        if self._starting is not None:
            self._starting.leave()
        if stream is None:
            return
        self._calls.telemetry.stream_closed(stream.interaction.opening.dialect)
        stream.listener = None
        if stream.interaction.state is State.LIVE:
            self._calls.cut(stream, self._reason_if_lost)

    def _on_closed(self, closing: Closing) -> None:
        """Note that the protocol has closed: it is reported when all before it is taken in."""
        self._closed_by_protocol = self._closed_by_protocol or closing

    def _report(self, closing: Closing) -> None:
        """Tell the operator of the close."""
        context = {**self.context, **closing.names}
        self._calls.reports.closed(closing, self._origin, context, error=self._failure)

    @property
    def context(self) -> dict[str, object]:
        """Whose call it is, for the log: before its start also whose token the sender has."""
        if self._stream is not None:
            return call_context(self._stream.interaction.opening)
        context: dict[str, object] = dict(self._sender.token_names)
        if self._starting is not None:
            context |= self._starting.names()
        return context if self._dialect is None else {**context, "dialect": self._dialect.name}

    async def _close(self, closing: Closing) -> None:
        if self._closed_by_protocol is None:
            self._report(closing)
        async with _at_most(CLOSE_SECONDS):
            await self._replies.flush()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(
                    {
                        "type": "websocket.close",
                        "code": closing.code.value,
                        "reason": closing.short_explanation,
                    }
                )
        except (TimeoutError, *PEER_GONE):
            _log.debug("the sender was gone before it could be told why")

    async def _send_text(self, reply: str) -> None:
        await self._send({"type": "websocket.send", "text": reply})


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Give up the body after `seconds`: it is a courtesy, and what follows happens all the same."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


_ROW_OF_DUPLICATES = (
    f"more than {MAX_DUPLICATES_IN_A_ROW} duplicates in a row: the counter seems to have begun anew"
)
_ENDED = Closing(CloseCode.ENDED, CloseReason.ENDED)
_RESTART = Closing(CloseCode.RESTART, CloseReason.RESTART, "restart: reconnect and resume")
_SHUTDOWN = Closing(CloseCode.RESTART, CloseReason.SHUTDOWN, "restart", EndReason.SHUTDOWN)
_SUPERSEDED = Closing(
    CloseCode.SUPERSEDED, CloseReason.SUPERSEDED, "a newer connection holds the stream"
)
_NOT_CONFIRMED = Closing(
    CloseCode.NOT_CONFIRMED, CloseReason.NOT_CONFIRMED, "nothing can be confirmed"
)
_REPLIES_UNREAD = Closing(CloseCode.POLICY, CloseReason.REPLIES_UNREAD, "replies are not read")
_NO_START = Closing(
    CloseCode.TIMED_OUT, CloseReason.NO_START, "no start within START_TIMEOUT_SECONDS"
)
_IDLE = Closing(
    CloseCode.TIMED_OUT, CloseReason.IDLE, "silent for IDLE_TIMEOUT_SECONDS", EndReason.IDLE
)
_TOO_LONG = Closing(
    CloseCode.TIMED_OUT, CloseReason.TOO_LONG, "longer than MAX_CALL_SECONDS", EndReason.TOO_LONG
)
_BUG = Closing(CloseCode.BUG, CloseReason.BUG)
