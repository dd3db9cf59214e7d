"""Use case: a frame of audio arrives. This is the hot path: no await, no task, no log line."""

from application.audio_health import AudioHealth
from application.delivery.live_stream import LiveStream
from application.ports.clock import Clock, Instant
from application.ports.telemetry import Telemetry
from domain.entries import Gap
from domain.events import Signal
from domain.media import AudioFrame


class IngestAudio:
    """Gives frames their position in the stream and puts them into the log."""

    def __init__(
        self, clock: Clock, telemetry: Telemetry, audio_health: AudioHealth | None = None
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._audio_health = audio_health or AudioHealth(telemetry, frames_per_sample=0)

    def __call__(
        self, stream: LiveStream, seq: int | None, audio: bytes, heard_at: Instant | None = None
    ) -> bool:
        """Accept one frame; without a `seq` of its own it takes the next. False for a duplicate.

        It was received at `heard_at`, by default now.

        Raises:
            InvalidAudio, InvalidSequenceNumber: the frame is refused; the caller says so with
                `refuse`. Nothing has changed.

        """
        interaction = stream.interaction
        number = interaction.unnumbered_seq if seq is None else seq
        heard, heard_at_ms = heard_at or self._clock.instant()
        frame = AudioFrame(interaction.opening.media, number, heard_at_ms, audio)
        if stream.is_fenced:
            return self.drop(stream, number)
        entries = interaction.hear(frame)
        self._telemetry.received()
        if not entries:
            self._telemetry.frames("duplicate")
            return False
        first = entries[0]
        if type(first) is Gap:
            self._telemetry.frames("missing", first.missing)
        stream.log.put(stream, entries, heard)
        stream.until_sample -= 1
        if not stream.until_sample:
            self._audio_health.take(stream, audio, heard)
        return True

    def note(self, stream: LiveStream, signal: Signal, details: str) -> None:
        """Put a signal in order among the frames; drop it if the generation is fenced."""
        if not stream.is_fenced:
            entry = stream.interaction.note(signal, details)
            stream.log.put(stream, (entry,), self._clock.monotonic())

    def refuse(
        self, stream: LiveStream, reason: str, messages: int = 1, *, unnumbered: bool = False
    ) -> None:
        """Count a refused message; `reason` is one of a closed set of labels."""
        stream.interaction.refuse(messages, unnumbered=unnumbered)
        self._telemetry.received(messages)
        self._telemetry.frames("rejected", messages, reason=reason)

    def drop_frame(self, stream: LiveStream, seq: int | None, audio: bytes) -> bool:
        """Accept one frame that the full buffer drops: it is lost. False for a duplicate.

        Raises:
            InvalidAudio, InvalidSequenceNumber: the frame is refused, as a published one would be.

        """
        interaction = stream.interaction
        number = interaction.unnumbered_seq if seq is None else seq
        AudioFrame(interaction.opening.media, number, 0, audio)
        return self.drop(stream, number)

    def drop(
        self, stream: LiveStream, seq: int | None, frames: int = 1, first_seq: int | None = None
    ) -> bool:
        """Accept frames up to `seq` that the full buffer drops: they are lost. False if duplicate.

        Without a `seq` of their own they take the next; without `first_seq` they have no holes.
        """
        interaction = stream.interaction
        last = interaction.unnumbered_seq + frames - 1 if seq is None else seq
        is_new = interaction.drop(last, frames, first_seq)
        self._telemetry.received(frames)
        self._telemetry.frames("lost" if is_new else "duplicate", frames)
        if is_new:
            stream.log.note_dropped(frames)
        return is_new
