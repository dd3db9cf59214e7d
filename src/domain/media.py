"""What the bytes of a frame mean: sample width, duration, bounds."""

from dataclasses import dataclass, field
from enum import StrEnum

from domain.errors import FrameTooLarge, InvalidAudio, InvalidMedia
from domain.sequence import MAX_SEQ, check_seq

MAX_FRAME_BYTES = 100_000
"""The maximum audio of one frame: the largest chunk that carriers document."""

SAMPLE_RATES_HZ = frozenset({8_000, 16_000, 24_000, 48_000})
"""Telephony narrow band (G.711), wide band (G.722), and the two rates of speech models and Opus."""


class Encoding(StrEnum):
    """How one sample is written."""

    PCM16 = "pcm16"
    """Signed 16-bit linear PCM, little endian."""
    MULAW = "mulaw"
    """G.711 µ-law, 8 bits a sample."""


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """The format of all audio of one run.

    Raises:
        InvalidMedia: the rate is not one of `SAMPLE_RATES_HZ`, or `channels` is not 1.

    """

    sample_rate: int
    encoding: Encoding = Encoding.PCM16
    channels: int = 1
    sample_width: int = field(init=False, repr=False, compare=False)
    """Bytes of one sample."""
    bytes_per_second: int = field(init=False, repr=False, compare=False)
    """Bytes of one second of audio."""

    def __post_init__(self) -> None:
        width = 2 if self.encoding is Encoding.PCM16 else 1
        object.__setattr__(self, "sample_width", width)
        object.__setattr__(self, "bytes_per_second", self.sample_rate * width)
        if self.sample_rate not in SAMPLE_RATES_HZ:
            rates = ", ".join(str(rate) for rate in sorted(SAMPLE_RATES_HZ))
            raise InvalidMedia(f"sample_rate must be one of {rates}")
        if self.channels != 1:
            raise InvalidMedia("channels must be 1")

    def duration_ms(self, audio_bytes: int) -> int:
        """Whole milliseconds that `audio_bytes` of audio last, rounded down."""
        return audio_bytes * 1_000 // self.bytes_per_second

    def refuse(self, size: int) -> None:
        """Raise the reason why a frame cannot have so many bytes: it must be whole samples.

        Raises:
            FrameTooLarge: more than `MAX_FRAME_BYTES`.
            InvalidAudio: empty, or the last sample is cut.

        """
        if size > MAX_FRAME_BYTES:
            raise FrameTooLarge(f"a frame holds at most {MAX_FRAME_BYTES} bytes of audio")
        if size == 0:
            raise InvalidAudio("a frame holds at least one sample")
        raise InvalidAudio(f"audio must be whole samples of {self.sample_width} bytes")


@dataclass(slots=True)
class AudioFrame:
    """A carrier-cut chunk of audio. Do not mutate it: a frozen class takes twice as long to make.

    `seq` is the sender's own frame counter, `received_at_ms` the wall clock of reception in
    milliseconds since 1970, `audio` the bytes as sent.

    Raises:
        InvalidSequenceNumber: `seq` is outside its range.
        InvalidAudio: `audio` is not whole samples of `media`, or too much for one frame.

    """

    media: MediaFormat
    seq: int
    received_at_ms: int
    audio: bytes

    def __init__(self, media: MediaFormat, seq: int, received_at_ms: int, audio: bytes) -> None:
        size = len(audio)
        if not 0 <= seq <= MAX_SEQ:
            check_seq(seq)
        if not 0 < size <= MAX_FRAME_BYTES or size % media.sample_width:
            media.refuse(size)
        self.media = media
        self.seq = seq
        self.received_at_ms = received_at_ms
        self.audio = audio

    @property
    def audio_ms(self) -> int:
        """Whole milliseconds this frame lasts, rounded down."""
        return self.media.duration_ms(len(self.audio))
