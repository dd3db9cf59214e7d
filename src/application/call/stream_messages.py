"""Handles the messages of one stream: holds them, sends them to the log, or refuses them."""

from collections.abc import Mapping

from application.call.acks import Acks
from application.call.closing import (
    NOT_CONFIRMED,
    SUPERSEDED,
    CloseCode,
    CloseReason,
    Closing,
)
from application.call.host import Host
from application.call.messages import Audio, Refusal, Refused, SignalMessage, refusal_of
from application.call.stream_start import StreamStart
from application.call_context import call_context
from application.delivery.live_stream import LiveStream
from application.ports.clock import Instant
from domain.errors import InvalidAudio, InvalidSequenceNumber

MAX_DUPLICATES_IN_A_ROW = 50
"""More than these mean that the sender's counter was reset: the sender gets an error."""

ROW_OF_DUPLICATES = (
    f"more than {MAX_DUPLICATES_IN_A_ROW} duplicates in a row:"
    " the counter seems to have started over"
)


class StreamMessages:
    """The part of a stream that handles messages and sends acks.

    `CallStream` is the whole.
    """

    def __init__(self, host: Host, start: StreamStart, track: str | None) -> None:
        services = host.services
        self._host = host
        self._ingest = services.ingest
        self.track = track
        self.start = start
        self.live: LiveStream | None = None
        self.is_dropping = False
        """Whether its audio is dropped while the buffer is full."""
        self._is_drop_told = False
        self._dropped_frames = 0
        is_acked = track is None and host.wire.ack(0) is not None
        self._acks = Acks(services.ack_interval if is_acked else 0)
        self._refused_in_a_row = 0
        self._duplicates_in_a_row = 0
        self._duplicates_below = 0

    def hear(self, message: Audio, heard: Instant | None = None) -> None:
        """Put a frame into the log, or hold it. An early one arrived at `heard`. The hot path."""
        live = self.live
        if live is None:
            self._hold(message, heard)
            return
        is_dropped = self.is_dropping and not self._has_room_again(live)
        try:
            if is_dropped:
                is_new = self._ingest.drop_frame(live, message.seq, message.audio)
            else:
                is_new = self._ingest(live, message.seq, message.audio, heard or self._host.heard)
        except (InvalidAudio, InvalidSequenceNumber) as why:
            self.refuse(Refused(refusal_of(why), str(why)), message)
        else:
            self._refused_in_a_row = 0
            if is_dropped:
                self._dropped_frames += is_new
            elif not is_new:
                self._on_duplicate(live, message)

    def note(self, message: SignalMessage) -> None:
        """Take a signal."""
        live = self.live
        if live is None:
            self._hold(message)
        elif self.is_dropping:
            self._host.services.telemetry.ignored("back_pressure")
        else:
            self._ingest.note(live, message.signal, message.details)

    def refuse(self, refused: Refused, audio: Audio | None = None) -> None:
        """Count and answer a message that cannot be used; each kind is logged once."""
        live = self.live
        if live is None:
            self.start.early.hold(refused, self._host.heard)
            return
        seq, is_unnumbered = refused.seq, False
        if audio is not None:
            is_unnumbered = audio.seq is None
            seq = live.interaction.unnumbered_seq if is_unnumbered else audio.seq
        self._host.remark(f"refused: {refused.explanation}")
        self._ingest.refuse(live, refused.refusal.value, unnumbered=is_unnumbered)
        wire = self._host.wire
        self._host.reply(wire.error(Refused(refused.refusal, refused.explanation, seq)))
        self._refused_in_a_row += 1
        limit = wire.max_refused_in_a_row
        if limit is not None and self._refused_in_a_row > limit:
            explanation = (
                f"more than {limit} messages refused in a row, the last: {refused.explanation}"
            )
            code, reason = CloseCode.POLICY, CloseReason.TOO_MANY_REFUSED
            self._host.close(Closing(code, reason, explanation))

    def _hold(self, message: Audio | SignalMessage, heard: Instant | None = None) -> None:
        if self.is_dropping and self.start.is_pending:
            self.start.early.drop(message)
        else:
            self.start.hold(message, heard)

    def _has_room_again(self, live: LiveStream) -> bool:
        self.is_dropping = live.log.is_full
        if not self.is_dropping:
            self._tell_dropped()
        return not self.is_dropping

    @property
    def names(self) -> Mapping[str, object]:
        """The names of the stream, as fields of a log line; empty before the start."""
        live = self.live
        return self.start.names if live is None else call_context(live.interaction.opening)

    def _tell_dropping(self) -> None:
        """Report that audio is dropped from now on."""
        if not self._is_drop_told:
            self._is_drop_told = True
            self._host.actions.report_dropping({**self.names, "dialect": self._host.wire.name})

    def _tell_dropped(self) -> None:
        """Report the end of drops, if there were any."""
        if self._is_drop_told:
            frames = self._dropped_frames + self.start.early.dropped_frames
            self._is_drop_told, self._dropped_frames = False, 0
            context = {**self.names, "dialect": self._host.wire.name}
            self._host.actions.report_dropped(frames, context)

    def _on_duplicate(self, live: LiveStream, message: Audio) -> None:
        if live.log.is_empty and not live.is_fenced:
            self.on_confirmed(1, live.published.last_seq)
        expected = live.interaction.unnumbered_seq
        if expected != self._duplicates_below:  # a new frame came since
            self._duplicates_below, self._duplicates_in_a_row = expected, 0
        self._duplicates_in_a_row += 1
        if self._duplicates_in_a_row == MAX_DUPLICATES_IN_A_ROW + 1:
            self._host.remark(ROW_OF_DUPLICATES)
            explanation = (
                f"{ROW_OF_DUPLICATES}: continue from {expected}, or end and start a new run"
            )
            refused = Refused(Refusal.INVALID_SEQ, explanation, message.seq)
            self._host.reply(self._host.wire.error(refused))

    # What the log tells (see `DeliveryListener`)

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """Acknowledge what is confirmed."""
        if self._acks.confirm(frames):
            self.ack(last_seq)
        if self.live is not None:
            self.live.frames_to_ack = self._acks.frames_to_ack
        self._host.on_progress()

    def on_fenced(self) -> None:
        """Close: a newer connection holds the stream."""
        self._host.close(SUPERSEDED)
        self._host.on_progress()

    def on_stalled(self) -> None:
        """Close: nothing is confirmed."""
        self._host.close(NOT_CONFIRMED)

    def ack(self, last_seq: int | None) -> None:
        """Acknowledge confirmed frames that are not acked yet."""
        text = self.due_ack(last_seq)
        if text is not None and not self._host.is_gone:
            self._host.actions.ack(text)

    def due_ack(self, last_seq: int | None) -> str | None:
        """Return the due ack, if any; only the main stream has acks."""
        seq = self._acks.take(last_seq)
        return None if seq is None else self._host.wire.ack(seq)
