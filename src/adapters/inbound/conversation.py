"""One connection from its first message to its close.

The sender is read in one loop: audio goes straight to its use case, everything else is answered
step by step. What does not come from the sender (time that ran out, a newer generation, a broker
that confirms nothing) interrupts the loop through one alarm, so that no timer is set per frame.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.inbound.close_codes import CloseCode, Closing
from adapters.inbound.dialects import (
    Dialect,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.dialects.messages import Audio, End, Message, Refusal, Refused, Start, Unknown
from adapters.inbound.replies import PEER_GONE, Replies
from application.cut_interaction import CutInteraction
from application.end_interaction import EndInteraction, PublicationEnded
from application.ingest_audio import IngestAudio
from application.live_stream import LiveStream
from application.outbox import Failure
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.publisher import Fenced
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

    def __init__(self, calls: Calls, sender: Sender, receive: Receive, send: SendMessage) -> None:
        self._calls = calls
        self._sender = sender
        self._receive = receive
        self._send = send
        self._replies = Replies(self._send_text, self._on_unread)
        self._dialect: Dialect | None = None
        self._stream: LiveStream | None = None
        self._opened_at = self._heard_at = calls.clock.monotonic()
        self._started_at = self._opened_at
        self._refused_in_a_row = 0
        self._unacked = 0
        self._acked_seq: int | None = None
        self._interruption: Closing | None = None
        self._alarm: asyncio.Timeout | None = None

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

    def _on_unread(self) -> None:
        self._interrupt(Closing(CloseCode.POLICY, "replies are not read"))

    def _interrupt(self, closing: Closing) -> None:
        self._interruption = self._interruption or closing
        if self._alarm is not None:
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
            received = await self._receive()
            if received["type"] == "websocket.disconnect":
                return None
            self._heard_at = self._calls.clock.monotonic()
            message = self._decode(received.get("text"), received.get("bytes"))
            if self._stream is None or type(message) is not Audio:
                return message
            self._on_audio(self._stream, message)
            if self._stream.outbox.is_full or self._replies.is_full:
                await self._wait_for_room(self._stream)
            if self._interruption is not None:
                return self._interruption

    def _decode(self, text: str | None, data: bytes | None) -> Message | Closing:
        raw: str | bytes = (data or b"") if text is None else text
        if self._dialect is None:
            try:
                self._dialect = recognise(raw, self._calls.dialects)
            except FirstMessageNotJson as why:
                return Closing(CloseCode.FIRST_MESSAGE_NOT_JSON, str(why))
            except UnknownDialect as why:
                return Closing(CloseCode.BAD_START, str(why))
        if isinstance(raw, str):
            return self._dialect.decode_text(raw)
        return self._dialect.decode_binary(raw)

    @property
    def _speaking(self) -> Dialect:
        if self._dialect is None:
            raise AssertionError("the dialect is chosen with the first message")
        return self._dialect

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
            return await self._on_opening(message)
        match message:
            case End():
                return await self._end(self._stream, message.reason, Closing(CloseCode.ENDED))
            case Start():
                self._refuse(Refused(Refusal.UNEXPECTED_EVENT, "the stream is started already"))
            case Refused():
                self._refuse(message)
            case Unknown():
                self._calls.telemetry.ignored("unknown")
        return self._interruption

    async def _on_opening(self, message: Message) -> Closing | None:
        match message:
            case Start():
                return await self._on_start(message)
            case End():
                return Closing(CloseCode.ENDED, "ended before it started")
            case Refused():
                return Closing(CloseCode.BAD_START, message.explanation)
            case Audio():
                return Closing(CloseCode.BAD_START, "audio before start")
        self._calls.telemetry.ignored("unknown")
        return None

    async def _on_start(self, message: Start) -> Closing | None:
        opening = Opening(
            stream=StreamKey(message.tenant_id, message.stream_id),
            interaction_id=message.interaction_id,
            dialect=self._speaking.name,
            media=message.media,
            started_at_ms=self._calls.clock.epoch_ms(),
            resume=message.resume,
            call=message.call,
        )
        try:
            stream = await self._calls.start(opening, self._sender)
        except NotAllowed as why:
            return Closing(CloseCode.NOT_ALLOWED, str(why))
        except PublisherError as error:
            _log.error("stream could not be started", extra={"error": str(error)})
            return Closing(CloseCode.NOT_CONFIRMED, "the start could not be published")
        self._stream = stream
        self._started_at = self._calls.clock.monotonic()
        self._calls.telemetry.stream_opened(opening.dialect)
        if stream.outbox.failure is not None:
            return _closing_after(stream.outbox.failure)
        stream.outbox.listen(self)
        interaction = stream.interaction
        self._replies.put(
            self._speaking.started(
                opening.interaction_id, interaction.generation, interaction.last_seq
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
        if self._refused_in_a_row > most:
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
            return self._opened_at + limits.start_seconds
        return min(self._heard_at + limits.idle_seconds, self._started_at + limits.call_seconds)

    def _overdue(self) -> Closing | None:
        if self._seconds_left() > 0:
            return None
        if self._stream is None:
            return Closing(CloseCode.TIMED_OUT, "no start")
        now = self._calls.clock.monotonic()
        is_too_long = now >= self._started_at + self._calls.limits.call_seconds
        return Closing(CloseCode.TIMED_OUT, EndReason.TOO_LONG if is_too_long else EndReason.IDLE)

    # The end

    async def _end(self, stream: LiveStream, reason: EndReason, closing: Closing) -> Closing:
        """End the run and say so; return how to close, which is otherwise if that fails."""
        try:
            ledger = await self._calls.end(stream, reason)
        except PublicationEnded as ended:
            return _closing_after(ended.failure)
        self._ack(stream.interaction.last_seq)
        self._replies.put(self._speaking.ended(stream.interaction.opening.interaction_id, ledger))
        return closing

    async def _take_leave(self, closing: Closing | None) -> Closing | None:
        """Do what is owed to the sender before the connection is closed."""
        stream = self._stream
        if closing is None or stream is None:
            return closing
        if closing.code is CloseCode.TIMED_OUT:
            closing = await self._end(stream, EndReason(closing.reason), closing)
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
            self._calls.cut(stream)

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


def _closing_after(failure: Failure) -> Closing:
    if isinstance(failure, Fenced):
        return Closing(CloseCode.SUPERSEDED, "a newer connection holds the stream")
    return Closing(CloseCode.NOT_CONFIRMED, "nothing can be confirmed")
