"""A stream whose start is said and not yet published, and what its sender says meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from adapters.inbound.calls import Calls
from adapters.inbound.close_codes import CloseCode, CloseReason, Closing
from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.messages import (
    Audio,
    End,
    Message,
    Refused,
    SignalSaid,
    Start,
    refusal_of,
)
from adapters.inbound.prelude import Held, Prelude
from application.delivery.live_stream import LiveStream
from application.delivery.pending_start import Granted
from application.ports.errors import PublisherError
from application.start_interaction import RetryBudget
from domain.access import Sender
from domain.errors import (
    InvalidAudio,
    InvalidSequenceNumber,
    NotAllowed,
    Superseded,
    TenantNotOpen,
)
from domain.events import EndReason, Opening
from domain.identifiers import StreamKey
from domain.starting import AwaitFirstFrame

SAID_AT_ONCE = 100
"""Messages held behind a start that are said in one turn of the loop."""


class Starting:
    """Tries to start a stream, and holds what is said before it is started.

    `on_settled` is called when an attempt is over; what came of it is `outcome`. `context` tells
    in the log where the sender is.
    """

    def __init__(
        self,
        calls: Calls,
        sender: Sender,
        dialect: Dialect,
        on_settled: Callable[[], None],
        context: Mapping[str, object],
    ) -> None:
        self._calls = calls
        self._sender = sender
        self._dialect = dialect
        self._on_settled = on_settled
        self._context = context
        self._prelude = Prelude(dialect, calls.budget, calls.telemetry)
        self._tried: Start | None = None
        self._said_at = 0.0
        self._attempt: asyncio.Task[Granted] | None = None
        self._stream: LiveStream | None = None
        limits = calls.limits
        holds_on = dialect.waits_for_broker
        self._budget = RetryBudget(limits.call_seconds if holds_on else limits.confirm_seconds)

    @property
    def start(self) -> Start | None:
        """The start as it was tried last."""
        return self._tried

    def names(self) -> dict[str, object]:
        """Return for a log line whose start was tried; nothing before there was one."""
        start = self._tried
        return {} if start is None else dict(start.names)

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read."""
        return self._prelude.is_full

    async def wait_for_room(self) -> None:
        """Wait until the attempt that is under way is over."""
        if self._attempt is not None:
            await asyncio.wait([self._attempt])

    def take(self, message: Message) -> Closing | None:
        """Take a message; return how to close if that has to be."""
        told = self._prelude.take(message)
        if isinstance(told, Closing):
            if told.code is CloseCode.BAD_START:
                self._prelude.discard(refused_for=told.reason)
            return told
        self._try(told)
        return None

    def end(self, reason: EndReason) -> None:
        """Have what one said that does not come back end so, if nothing else has ended it."""
        if not self._dialect.comes_back:
            self.take(End(reason))

    def drop(self, message: Audio | SignalSaid) -> None:
        """Note what there is no room for: a frame will be lost."""
        if isinstance(message, Audio):
            self._prelude.drop(message.seq)
        else:
            self._calls.telemetry.ignored("no_room")

    def outcome(self) -> LiveStream | Closing | None:
        """Return the stream, or how to close; None while neither is certain."""
        if self._attempt is None or not self._attempt.done():
            return None
        attempt, self._attempt = self._attempt, None
        try:
            stream = attempt.result()
        except NotAllowed as why:
            self._prelude.discard(refused_for=CloseReason.NOT_ALLOWED)
            explanation = str(why)
            if isinstance(why, TenantNotOpen):
                explanation += ": EXOTEL_TENANTS does not name it"
            return Closing(CloseCode.NOT_ALLOWED, CloseReason.NOT_ALLOWED, explanation)
        except Superseded as why:
            return Closing(CloseCode.SUPERSEDED, CloseReason.SUPERSEDED, str(why))
        except PublisherError:
            holds_on = self._dialect.waits_for_broker
            code = CloseCode.TIMED_OUT if holds_on else CloseCode.NOT_CONFIRMED
            reason = CloseReason.START_NOT_CONFIRMED
            return Closing(code, reason, "the start could not be published")
        if isinstance(stream, AwaitFirstFrame):
            self._try(self._prelude.start_as_told())
            return None
        self._stream = stream
        return stream

    async def held(self) -> AsyncIterator[Held]:
        """Yield what was held, in order; it may be much: others get their turn in between.

        An end is not said for a sender that comes back and has done so already: it goes on, behind
        what is said here, and ends it then.
        """
        said = 0
        while (held := self._prelude.release()) is not None:
            if isinstance(held, End) and self._goes_on_elsewhere:
                continue
            yield held
            said += 1
            if said % SAID_AT_ONCE == 0:
                await asyncio.sleep(0)

    def declare_dropped(self, stream: LiveStream) -> None:
        """Count what was dropped, once everything held is released."""
        ingest, dropped = self._calls.ingest, self._prelude.take_dropped()
        if dropped.frames:
            ingest.drop(stream, dropped.last_seq, dropped.frames, dropped.first_seq)
        if dropped.duplicates:
            ingest.drop(stream, dropped.highest_seq, dropped.duplicates)
        for refusal, messages in dropped.refused.items():
            ingest.refuse(stream, refusal.value, messages=messages)

    def settle(self) -> None:
        """Note that everything held is put: the next start of the stream may be decided."""
        self._prelude.discard()
        if self._stream is not None:
            self._stream.note_caught_up()

    def leave(self) -> None:
        """Go on without the sender.

        One that comes back says everything again: its start is not tried any more, only an attempt
        that is under way may still succeed. Others cannot, and who has said that it was all does
        not: for them everything is as if they were there.
        """
        attempt = self._attempt
        if attempt is None:
            self.settle()
            return
        if self._dialect.comes_back and not self._prelude.has_ended:
            self._budget.give_up()
        self._calls.background.own(self._finish())

    def _try(self, start: Start | None) -> None:
        if start is None or self._attempt is not None or start == self._tried:
            return
        if self._tried is None:
            self._said_at = self._calls.clock.monotonic()
        self._tried = start
        self._attempt = asyncio.create_task(self._start(start))
        self._attempt.add_done_callback(lambda _: self._on_settled())

    async def _start(self, start: Start) -> Granted:
        return await self._calls.start(
            Opening(
                stream=StreamKey(start.tenant_id, start.stream_id),
                interaction_id=start.interaction_id,
                dialect=self._dialect.name,
                media=start.media,
                started_at_ms=self._calls.clock.epoch_ms(),
                continuation=start.continuation,
                call=start.call,
            ),
            self._sender,
            requested_at=self._said_at,
            budget=self._budget,
            context=self._context,
        )

    @property
    def _goes_on_elsewhere(self) -> bool:
        stream = self._stream
        return self._dialect.comes_back and stream is not None and stream.log.is_start_requested

    async def _finish(self) -> None:
        """Publish what a sender said that is gone before its stream was started."""
        try:
            stream = await self._stream_of_nobody()
            if stream is None:
                return
            reason = EndReason.DISCONNECTED
            async for held in self.held():
                if isinstance(held, End):
                    reason = held.reason
                    break
                self._publish(stream, held)
            self.declare_dropped(stream)
            if self._dialect.comes_back or reason is EndReason.DISCONNECTED:
                self._calls.cut(stream, reason)  # it may not have been heard that all is published
            else:
                self._calls.end(stream, reason)
        finally:
            if self._attempt is not None:
                self._attempt.cancel()
            self.settle()

    async def _stream_of_nobody(self) -> LiveStream | None:
        """Wait for the attempt that is under way, and for one that it leads to."""
        while self._attempt is not None:
            await asyncio.wait([self._attempt])
            if self._attempt.cancelled():
                return None
            outcome = self.outcome()
            if outcome is not None:
                return outcome if isinstance(outcome, LiveStream) else None
        return None

    def _publish(self, stream: LiveStream, held: Held) -> None:
        match held:
            case Audio(seq, audio):
                try:
                    self._calls.ingest(stream, seq, audio)
                except (InvalidAudio, InvalidSequenceNumber) as why:
                    self._calls.ingest.refuse(stream, refusal_of(why).value, unnumbered=seq is None)
            case SignalSaid(signal, details):
                self._calls.ingest.note(stream, signal, details)
            case Refused(refusal):
                self._calls.ingest.refuse(stream, refusal.value)
