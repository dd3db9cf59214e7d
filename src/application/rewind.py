"""What of one stream was confirmed lately, to be given again to a broker that has forgotten it."""

from application.buffer import KEPT_TOGETHER_SECONDS, REWIND_SHARE, Buffer, HeldBatch, Holder
from application.ports.telemetry import Telemetry
from domain.account import Account
from domain.events import AudioAccepted
from domain.media import MediaFormat

BATCH_EVENTS = 128
BATCH_BYTES = 512 * 1024
"""A batch is one call of the broker, which serves nobody else meanwhile: about a millisecond."""

SMALL_FRAME_BYTES = 2_048
"""Frames of less audio take a lot more memory than their audio."""

KEPT_FRAMES_PER_SECOND = 400
"""How short the audio of frames may be, and all be kept that would be by its bytes: 2.5 ms."""

OTHER_EVENT_FRAMES = 16
"""What is no frame is not packed, and counts as so many."""


class Rewind(Holder):
    """The batches of one stream that are kept, in order; `base` is the account before the first."""

    def __init__(
        self, base: Account, media: MediaFormat, buffer: Buffer, telemetry: Telemetry
    ) -> None:
        self.base = base
        self._media = media
        self._buffer = buffer
        self._telemetry = telemetry
        self._kept: list[HeldBatch] = []
        self._audio_bytes = self._frames = 0
        self._rewind_seconds = buffer.limits.rewind_seconds
        most_seconds = REWIND_SHARE * self._rewind_seconds
        self._most_bytes = round(most_seconds * media.bytes_per_second)
        self._most_frames = round(most_seconds * KEPT_FRAMES_PER_SECOND)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return not self._kept

    def keep(self, held: HeldBatch, now: float) -> None:
        """Keep a batch that is confirmed `now`, monotonic seconds; it follows all that is kept."""
        kept, count = self._kept, held.count
        if not self._rewind_seconds or not (count or kept):
            self.base = held.account
            return
        if not count:
            kept[-1].account = held.account
            return
        self._audio_bytes += held.audio_bytes
        self._frames += _as_frames(held)
        if kept and self._is_small_beside(kept[-1], held, now):
            self._join(kept[-1], held)
        else:
            self._pack_last()
            if held.packed is not None:
                held.pack(self._media)
            held.is_kept, held.first_kept_at = True, now
            self._kept.append(held)
            self._buffer.keep(self, held)
        while self._is_too_much and len(kept) > 1:
            self._telemetry.rewind_short(kept[0].frames)
            self.let_go(kept[0])

    @property
    def _is_too_much(self) -> bool:
        """Whether it is more than a sender in real time says: audio, or frames of hardly any."""
        return self._audio_bytes > self._most_bytes or self._frames > self._most_frames

    def frames_from(self, position: int) -> int:
        """Return how many of the frames that are kept have this position or a higher one."""
        frames = 0
        for held in self._kept:
            if held.first_position >= position:
                frames += held.frames
            elif held.end > position:
                events = held.events or held.unconfirmed().events
                frames += sum(
                    isinstance(event, AudioAccepted) and event.position >= position
                    for event in events
                )
        return frames

    def let_go(self, held: HeldBatch) -> None:
        """Forget the first batch. See `Holder`."""
        self._take_out(self._kept.pop(0))
        self.base = held.account
        held.forget()

    def take_back(self, position: int = 0) -> list[HeldBatch]:
        """Return, and keep no more, what reaches above `position`; to be confirmed again."""
        taken: list[HeldBatch] = []
        while self._kept and self._kept[-1].end > position:
            held = self._kept.pop()
            taken.append(held.unconfirmed())
            self._take_out(held)
            held.forget()
        return taken[::-1]

    def _pack_last(self) -> None:
        """Pack what nothing will be joined to, where it saves much."""
        if self._kept and self._kept[-1].audio_bytes < SMALL_FRAME_BYTES * self._kept[-1].frames:
            self._kept[-1].pack(self._media)

    def _take_out(self, held: HeldBatch) -> None:
        held.is_kept = False
        self._audio_bytes -= held.audio_bytes
        self._frames -= _as_frames(held)
        self._buffer.grow_kept(-held.audio_bytes)

    @staticmethod
    def _is_small_beside(last: HeldBatch, held: HeldBatch, now: float) -> bool:
        return (
            now - last.first_kept_at < KEPT_TOGETHER_SECONDS
            and last.packed is None
            and held.packed is None
            and last.count + held.count <= BATCH_EVENTS
            and last.audio_bytes + held.audio_bytes <= BATCH_BYTES
        )

    def _join(self, last: HeldBatch, held: HeldBatch) -> None:
        last.events += held.events
        last.account = held.account
        last.audio_bytes += held.audio_bytes
        last.frames += held.frames
        self._buffer.grow_kept(held.audio_bytes)


def _as_frames(held: HeldBatch) -> int:
    return held.frames + OTHER_EVENT_FRAMES * (held.count - held.frames)
