"""One connection from its first message to its close.

The sender is read in one loop: audio goes straight to its use case, everything else is answered
step by step. What does not come from the sender (time that ran out, a newer generation, a broker
that confirms nothing) interrupts the loop through one alarm, so that no timer is set per frame.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.inbound.close_codes import CloseCode, Closing
from adapters.inbound.dialects import (
    Decoder,
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.dialects.messages import (
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalSaid,
    Start,
    Unknown,
)
from adapters.inbound.prelude import Prelude
from adapters.inbound.replies import PEER_GONE, Replies
from application.cut_interaction import CutInteraction
from application.end_interaction import EndInteraction, PublicationEnded
from application.ingest_audio import IngestAudio
from application.live_stream import LiveStream
from application.outbox import Failure
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.publisher import Fenced, Undecided
from application.ports.telemetry import Telemetry
from application.start_interaction import StartInteraction
from domain.access import Sender
from domain.errors import FrameTooLarge, InvalidAudio, InvalidSequenceNumber, NotAllowed
from domain.events import EndReason, Opening
from domain.identifiers import StreamKey
from domain.interaction import State

CLOSE_SECONDS = 5.0
"""How long what is received may take to be confirmed before we close all the same."""

_log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]
SendMessage = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds from the handshake to `start`, between messages, and from `start` to the end."""

    start_seconds: float
    idle_seconds: float
    call_seconds: float


@dataclass(frozen=True, slots=True)
class Calls:
    """The use cases of a call, and what every conversation shares."""

    start: StartInteraction
    ingest: IngestAudio
    end: EndInteraction
    cut: CutInteraction
    clock: Clock
    telemetry: Telemetry
    dialects: Iterable[Dialect]
    ack_interval: int
    limits: TimeLimits


class Conversation:
    """Reads one sender and answers it. `receive` and `send` are the socket's ASGI callables."""

    def __init__(
        self,
        calls: Calls,
        sender: Sender,
        query: Mapping[str, str],
        receive: Receive,
        send: SendMessage,
    ) -> None:
        self._calls = calls
        self._sender = sender
        self._query = query
        self._receive = receive
        self._send = send
        self._replies = Replies(self._send_text, self._on_unread)
        self._dialect: Dialect | None = None
        self._decoder: Decoder | None = None
        self._prelude: Prelude | None = None
        self._stream: LiveStream | None = None
        self._opened_at = self._heard_at = calls.clock.monotonic()
        self._refused_in_a_row = 0
        self._unacked = 0
        self._acked_seq: int | None = None
        self._interruption: Closing | None = None
        self._alarm: asyncio.Timeout | None = None
        self._is_over = False
        self._reason_if_lost = EndReason.DISCONNECTED
        self._is_draining = False

    async def run(self) -> None:
        """Hold the conversation until the connection is closed, by either side."""
        replies = asyncio.create_task(self._replies.run())
        try:
            closing = await self._hold()
            if closing is not None:
                await self._close(closing)
        finally:
            replies.cancel()
            await asyncio.gather(replies, return_exceptions=True)

    # What comes from elsewhere

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """Acknowledge what is published. See `PublicationListener`."""
        self._unacked += frames
        if 0 < self._calls.ack_interval <= self._unacked:
            self._ack(last_seq)

    def on_failure(self, failure: Failure) -> None:
        """Close: nothing more will be published. See `PublicationListener`."""
        self._interrupt(_closing_after(failure))

    def on_drain(self) -> None:
        """Close now, for the sender to go on elsewhere, unless it would not come back."""
        self._is_draining = True
        if self._dialect is not None and self._dialect.comes_back:
            self._interrupt(_RESTART)

    def on_drain_over(self) -> None:
        """End the run and close now, whoever it is."""
        self._interrupt(Closing(CloseCode.RESTART, "restart", EndReason.SHUTDOWN))

    def _is_held_on_to(self, code: CloseCode) -> bool:
        return self._dialect is not None and code in self._dialect.never_closed_with

    def _on_unread(self) -> None:
        self._interrupt(Closing(CloseCode.POLICY, "replies are not read"))

    def _interrupt(self, closing: Closing) -> None:
        if self._is_held_on_to(closing.code):
            return
        self._interruption = self._interruption or closing
        if self._alarm is not None and not self._alarm.expired():
            self._alarm.reschedule(asyncio.get_running_loop().time())

    # The loop

    async def _hold(self) -> Closing | None:
        """Return how to close; None when the sender is gone already."""
        try:
            closing = await self._converse()
            return await self._take_leave(closing)
        except Exception:  # noqa: BLE001  # a bug ends this call, not the others
            _log.exception("conversation failed")
            return Closing(CloseCode.BUG)
        finally:
            self._let_go()

    async def _converse(self) -> Closing | None:
        """Alternate between listening, which may be interrupted, and steps, which may not."""
        while True:
            said = await self._listen_until_due()
            if said is None:
                return None
            closing = self._interruption or await self._on_other(said)
            if closing is not None:
                return closing

    async def _listen_until_due(self) -> Message | Closing | None:
        while True:
            try:
                async with asyncio.timeout(self._seconds_left()) as self._alarm:
                    return await self._listen()
            except TimeoutError:
                overdue = self._interruption or self._overdue()
                if overdue is not None:
                    return overdue
            finally:
                self._alarm = None

    async def _listen(self) -> Message | Closing | None:
        """Take in audio until something else is said, which is returned; None: the sender left."""
        while True:
            if self._stream is not None and not self._has_room(self._stream):
                await self._wait_for_room(self._stream)
            received = await self._receive()
            if received["type"] == "websocket.disconnect":
                return None
            self._heard_at = self._calls.clock.monotonic()
            message = self._decode(received.get("text"), received.get("bytes"))
            if self._stream is None or type(message) is not Audio:
                return message
            self._on_audio(self._stream, message)
            if self._interruption is not None:
                return self._interruption

    def _decode(self, text: str | None, data: bytes | None) -> Message | Closing:
        raw: str | bytes = (data or b"") if text is None else text
        if self._decoder is None:
            try:
                self._dialect = recognise(raw, self._calls.dialects)
            except FirstMessageNotJson as why:
                return Closing(CloseCode.FIRST_MESSAGE_NOT_JSON, str(why))
            except UnknownDialect as why:
                return Closing(CloseCode.BAD_START, str(why))
            if self._is_draining and self._dialect.comes_back:
                return _RESTART
            self._decoder = self._dialect.decoder(self._query)
            self._prelude = Prelude(self._dialect, self._calls.telemetry)
        if isinstance(raw, str):
            return self._decoder.decode_text(raw)
        return self._decoder.decode_binary(raw)

    @property
    def _speaking(self) -> Dialect:
        if self._dialect is None:
            raise AssertionError("the dialect is chosen with the first message")
        return self._dialect

    def _has_room(self, stream: LiveStream) -> bool:
        return not (stream.outbox.is_full or self._replies.is_full)

    async def _wait_for_room(self, stream: LiveStream) -> None:
        await stream.outbox.wait_for_room()
        if self._replies.is_full:
            await self._replies.flush()
        self._heard_at = self._calls.clock.monotonic()  # we did not listen: that is no silence

    # What the sender says

    def _on_audio(self, stream: LiveStream, message: Audio) -> None:
        try:
            is_new = self._calls.ingest(stream, message.seq, message.audio)
        except InvalidSequenceNumber as why:
            self._refuse(Refused(Refusal.INVALID_SEQ, str(why)), message)
        except FrameTooLarge as why:
            self._refuse(Refused(Refusal.FRAME_TOO_LARGE, str(why)), message)
        except InvalidAudio as why:
            self._refuse(Refused(Refusal.INVALID_AUDIO, str(why)), message)
        else:
            self._refused_in_a_row = 0
            if not is_new and stream.outbox.is_empty:
                self.on_confirmed(1, stream.interaction.last_seq)

    async def _on_other(self, message: Message | Closing) -> Closing | None:
        if isinstance(message, Closing):
            return message
        if self._stream is None:
            return await self._on_prelude(message)
        return await self._on_message(self._stream, message)

    async def _on_message(self, stream: LiveStream, message: Message) -> Closing | None:
        match message:
            case Audio():
                self._on_audio(stream, message)
            case SignalSaid(signal, details):
                self._calls.ingest.note(stream, signal, details)
            case End(reason):
                return await self._end(stream, reason, Closing(CloseCode.ENDED))
            case Start() | BadStart():
                self._refuse(Refused(Refusal.UNEXPECTED_EVENT, "the stream is started already"))
            case Refused():
                self._refuse(message)
            case Unknown():
                self._calls.telemetry.ignored("unknown")
        return self._interruption

    async def _on_prelude(self, message: Message) -> Closing | None:
        if self._prelude is None:
            raise AssertionError("the prelude begins with the first message")
        start = self._prelude.take(message)
        if not isinstance(start, Start):
            return start
        closing = await self._start(start)
        while closing is None and self._stream is not None:
            held = self._prelude.release()
            if held is None:
                break
            closing = await self._on_message(self._stream, held)
        return closing

    async def _start(self, start: Start) -> Closing | None:
        """Start the stream, unless it cannot be told yet how."""
        opening = Opening(
            stream=StreamKey(start.tenant_id, start.stream_id),
            interaction_id=start.interaction_id,
            dialect=self._speaking.name,
            media=start.media,
            started_at_ms=self._calls.clock.epoch_ms(),
            continuation=start.continuation,
            call=start.call,
        )
        holds_on = self._is_held_on_to(CloseCode.NOT_CONFIRMED)
        patience = self._calls.limits.call_seconds if holds_on else 0.0
        try:
            stream = await self._calls.start(opening, self._sender, patience_seconds=patience)
        except NotAllowed as why:
            return Closing(CloseCode.NOT_ALLOWED, str(why))
        except PublisherError:
            code = CloseCode.TIMED_OUT if holds_on else CloseCode.NOT_CONFIRMED
            return Closing(code, "the start could not be published")
        if isinstance(stream, Undecided):
            return None
        return self._on_started(stream, start)

    def _on_started(self, stream: LiveStream, start: Start) -> Closing | None:
        self._stream = stream
        interaction = stream.interaction
        self._calls.telemetry.stream_opened(interaction.opening.dialect)
        for remark in start.remarks:
            _log.warning(remark, extra={"stream": str(stream.key)})
        if stream.outbox.failure is not None:
            return _closing_after(stream.outbox.failure)
        stream.outbox.listen(self)
        self._replies.put(
            self._speaking.started(
                interaction.opening.interaction_id, interaction.generation, interaction.last_seq
            )
        )
        return None

    def _refuse(self, refused: Refused, audio: Audio | None = None) -> None:
        """Count and answer a message that cannot be used."""
        stream = self._stream
        if stream is None:
            raise AssertionError("before start a refused message closes the connection")
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
                Closing(CloseCode.POLICY, f"more than {most} messages refused in a row")
            )

    def _ack(self, last_seq: int | None) -> None:
        """Acknowledge what is published and not yet acknowledged, if there is any."""
        if self._calls.ack_interval == 0 or self._unacked == 0:
            return
        self._unacked = 0
        if last_seq is not None and last_seq != self._acked_seq:
            self._acked_seq = last_seq
            self._replies.put_ack(self._speaking.ack(last_seq))

    # Time

    def _seconds_left(self) -> float:
        return max(0.0, self._due_at() - self._calls.clock.monotonic())

    def _due_at(self) -> float:
        limits = self._calls.limits
        if self._stream is None:
            if self._prelude is not None and self._prelude.has_start:
                return self._heard_at + limits.idle_seconds
            return self._opened_at + limits.start_seconds
        return min(
            self._heard_at + limits.idle_seconds, self._stream.run_started_at + limits.call_seconds
        )

    def _overdue(self) -> Closing | None:
        if self._seconds_left() > 0:
            return None
        if self._stream is None:
            return Closing(CloseCode.TIMED_OUT, "no start")
        now = self._calls.clock.monotonic()
        is_too_long = now >= self._stream.run_started_at + self._calls.limits.call_seconds
        end = EndReason.TOO_LONG if is_too_long else EndReason.IDLE
        return Closing(CloseCode.TIMED_OUT, end.value, end)

    # The end

    async def _end(self, stream: LiveStream, reason: EndReason, closing: Closing) -> Closing:
        """End the run and say so; return how to close, which is otherwise if that fails.

        A sender that is not hung up on for it stays until its run is ended all the same.
        """
        self._is_over = True
        try:
            ledger = await self._calls.end(stream, reason)
        except PublicationEnded as ended:
            failed = _closing_after(ended.failure)
            if not self._is_held_on_to(failed.code):
                return failed
            await self._calls.cut.end_lost(stream, reason)
            return closing
        self._ack(stream.interaction.last_seq)
        self._replies.put(self._speaking.ended(stream.interaction.opening.interaction_id, ledger))
        return closing

    async def _take_leave(self, closing: Closing | None) -> Closing | None:
        """Do what is owed to the sender before the connection is closed."""
        stream = self._stream
        if closing is not None and closing.code is CloseCode.NOT_CONFIRMED:
            self._reason_if_lost = EndReason.BROKER_LOST
        if closing is None or stream is None:
            return closing
        if closing.end is not None and not self._is_over:
            closing = await self._end(stream, closing.end, closing)
        if stream.outbox.failure is None:
            async with _at_most(CLOSE_SECONDS):
                await stream.outbox.wait_until_empty()
        self._ack(stream.outbox.published.last_seq)
        return closing

    def _let_go(self) -> None:
        stream = self._stream
        if stream is None:
            return
        self._calls.telemetry.stream_closed(stream.interaction.opening.dialect)
        if stream.interaction.state is not State.ENDED or not stream.outbox.is_empty:
            self._calls.cut(stream, self._reason_if_lost)

    async def _close(self, closing: Closing) -> None:
        async with _at_most(CLOSE_SECONDS):
            await self._replies.flush()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(
                    {
                        "type": "websocket.close",
                        "code": closing.code.value,
                        "reason": closing.short_reason,
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


_RESTART = Closing(CloseCode.RESTART, "restart: reconnect and resume")


def _closing_after(failure: Failure) -> Closing:
    if isinstance(failure, Fenced):
        return Closing(CloseCode.SUPERSEDED, "a newer connection holds the stream")
    return Closing(CloseCode.NOT_CONFIRMED, "nothing can be confirmed")
