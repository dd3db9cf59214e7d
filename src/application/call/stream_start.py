"""The start of one stream, and its messages until it is granted."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from application.call.actions import Attempt
from application.call.closing import CloseReason
from application.call.early_messages import EarlyMessages
from application.call.host import Host
from application.call.messages import Audio, End, SignalMessage, Start
from application.call.start_attempt import Settled
from application.ports.clock import Instant
from application.start_interaction import RetryBudget
from domain.events import EndReason, Opening, Resume, ResumeAbove
from domain.identifiers import StreamKey


class StreamStart:
    """Requests a start as soon as its facts are known, and holds all other messages.

    A start that resumes above a seq depends on the first frame: it is requested without it, and
    again with it. `on_settled` is called for each attempt.
    """

    def __init__(
        self, host: Host, track: str | None, on_settled: Callable[[Settled], None]
    ) -> None:
        services, wire = host.services, host.wire
        self._host = host
        self._clock = services.clock
        self._wire = wire
        self._track = track
        self._on_settled = on_settled
        self.early = EarlyMessages(
            wire.max_early_messages, services.budget, services.telemetry, track
        )
        self.message: Start | None = None
        """The start message of the sender."""
        self._requested: Start | None = None
        self._requested_at = 0.0
        self._attempt: Attempt | None = None
        limits = services.limits
        keeps_on = wire.waits_for_broker
        self._retries = RetryBudget(limits.call_seconds if keeps_on else limits.confirm_seconds)

    @property
    def is_pending(self) -> bool:
        """Whether an attempt is in progress."""
        return self._attempt is not None

    @property
    def names(self) -> Mapping[str, object]:
        """The names of the start, as fields of a log line; empty before it is requested."""
        return {} if self._requested is None else dict(self._requested.names)

    def take(self, start: Start) -> None:
        """Request the start that a sender has sent."""
        self.message = start
        self.early.note_start(start.media)
        self._request()

    def hold(self, message: Audio | SignalMessage, heard: Instant | None = None) -> None:
        """Hold a message until the start is granted; it arrived now, or at `heard`."""
        self.early.hold(message, heard or self._host.heard)
        if isinstance(message, Audio):
            self._request()

    def end(self, reason: EndReason) -> None:
        """Hold the end, after all other messages."""
        if self.message is not None:
            self.early.hold_end(End(reason), self._host.heard)
            self._request()

    def try_again(self) -> bool:
        """Request it again if more is known now; return whether an attempt is in progress."""
        self._request()
        return self.is_pending

    async def wait(self) -> None:
        """Wait for the outcome of the current attempt."""
        if self._attempt is not None:
            await self._attempt.wait()

    def give_up(self) -> None:
        """Stop retrying if the sender will send everything again: it can resume, without an end."""
        if self._attempt is not None and self._wire.comes_back and not self.early.has_ended:
            self._attempt.give_up()

    def cancel(self) -> None:
        """End the attempt."""
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None

    def discard(self, refused_for: CloseReason | None) -> None:
        """Drop held messages: they are lost, or rejected for a reason."""
        if self.message is None:
            refused_for = refused_for or CloseReason.NO_START
        self.early.discard(refused_for=None if refused_for is None else refused_for.value)

    def _request(self) -> None:
        start = self._as_told()
        if start is None or self._attempt is not None or start == self._requested:
            return
        if self._requested is None:
            self._requested_at = self._clock.monotonic()
        self._requested = start
        opening = Opening(
            stream=StreamKey(start.tenant_id, start.stream_id),
            interaction_id=start.interaction_id,
            dialect=self._wire.name,
            media=start.media,
            started_at_ms=self._clock.epoch_ms(),
            continuation=start.continuation,
            call=start.call,
            track=self._track,
        )
        self._attempt = self._host.actions.start(
            opening, self._requested_at, self._retries, self._settle
        )

    def _as_told(self) -> Start | None:
        """Return the start with the first frame; after the end there will be none."""
        start = self.message
        if start is None or not isinstance(start.continuation, ResumeAbove):
            return start
        first = self.early.first_audio
        if first is not None:
            above = Resume() if first.seq is None else ResumeAbove(first.seq)
            return replace(start, continuation=above)
        return replace(start, continuation=Resume()) if self.early.has_ended else start

    def _settle(self, settled: Settled) -> None:
        self._attempt = None
        try:
            self._on_settled(settled)
        except Exception as bug:  # noqa: BLE001  # it ends this call, not the others
            self._host.fail(bug)
