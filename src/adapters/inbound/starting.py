"""A stream whose start is said and not yet published, and what its sender says meanwhile."""

import asyncio
from collections.abc import Callable

from adapters.inbound.calls import Calls
from adapters.inbound.close_codes import CloseCode, Closing
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
from application.live_stream import LiveStream
from application.ports.errors import PublisherError
from application.ports.publisher import Undecided
from domain.access import Sender
from domain.account import State
from domain.errors import InvalidAudio, InvalidSequenceNumber, NotAllowed
from domain.events import Opening
from domain.identifiers import StreamKey


class Starting:
    """Tries to start a stream, and holds what is said before it is started.

    `on_settled` is called when an attempt is over; what came of it is `outcome`.
    """

    def __init__(
        self, calls: Calls, sender: Sender, dialect: Dialect, on_settled: Callable[[], None]
    ) -> None:
        self._calls = calls
        self._sender = sender
        self._dialect = dialect
        self._on_settled = on_settled
        self._prelude = Prelude(dialect, calls.buffer, calls.telemetry)
        self._tried: Start | None = None
        self._attempt: asyncio.Task[LiveStream | Undecided] | None = None

    @property
    def start(self) -> Start | None:
        """The start as it was tried last."""
        return self._tried

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
            return told
        self._try(told)
        return None

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
            return Closing(CloseCode.NOT_ALLOWED, str(why))
        except PublisherError:
            holds_on = self._dialect.waits_for_broker
            code = CloseCode.TIMED_OUT if holds_on else CloseCode.NOT_CONFIRMED
            return Closing(code, "the start could not be published")
        if isinstance(stream, Undecided):
            self._try(self._prelude.start_as_told())
            return None
        return stream

    def release(self) -> Held | None:
        """Return what was held, one message at a time and in order; None when that was all."""
        return self._prelude.release()

    def declare_dropped(self, stream: LiveStream) -> None:
        """Count what was dropped, once everything held is released."""
        ingest, dropped = self._calls.ingest, self._prelude.take_dropped()
        if dropped.frames:
            ingest.drop(stream, dropped.last_seq, dropped.frames, dropped.first_seq)
        if dropped.duplicates:
            ingest.drop(stream, dropped.highest_seq, dropped.duplicates)
        for refusal, messages in dropped.refused.items():
            ingest.refuse(stream, refusal.value, messages=messages)

    def leave(self) -> None:
        """Go on without the sender: one that comes back says everything again, others cannot.

        Who has said that it was all does not come back.
        """
        attempt = self._attempt
        if attempt is None or (self._dialect.comes_back and not self._prelude.has_ended):
            self._prelude.discard()
            if attempt is not None:
                attempt.cancel()
        else:
            self._calls.background.own(self._finish(attempt))

    def _try(self, start: Start | None) -> None:
        if start is not None and self._attempt is None and start != self._tried:
            self._tried = start
            self._attempt = asyncio.create_task(self._start(start))
            self._attempt.add_done_callback(lambda _: self._on_settled())

    async def _start(self, start: Start) -> LiveStream | Undecided:
        limits = self._calls.limits
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
            patience_seconds=limits.call_seconds
            if self._dialect.waits_for_broker
            else limits.confirm_seconds,
        )

    async def _finish(self, attempt: asyncio.Task[LiveStream | Undecided]) -> None:
        """Publish what a sender said that is gone before its stream was started."""
        await asyncio.wait([attempt])
        stream = self.outcome()
        if not isinstance(stream, LiveStream):
            self._prelude.discard()
            return
        while (held := self.release()) is not None:
            if stream.interaction.state is not State.LIVE:
                break
            self._publish(stream, held)
        if stream.interaction.state is State.LIVE:
            self.declare_dropped(stream)
            self._calls.cut(stream)
        self._prelude.discard()

    def _publish(self, stream: LiveStream, held: Held) -> None:
        match held:
            case Audio(seq, audio):
                try:
                    self._calls.ingest(stream, seq, audio)
                except (InvalidAudio, InvalidSequenceNumber) as why:
                    self._calls.ingest.refuse(stream, refusal_of(why).value, unnumbered=seq is None)
            case SignalSaid(signal, details):
                self._calls.ingest.note(stream, signal, details)
            case End(reason):
                self.declare_dropped(stream)
                self._calls.end(stream, reason)
            case Refused(refusal):
                self._calls.ingest.refuse(stream, refusal.value)
