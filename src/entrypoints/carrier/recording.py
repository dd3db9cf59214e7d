"""Recordings for calls: WAV files, PCM, 16 bits, mono."""

import stat
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
SAMPLE_WIDTH_BYTES = 2
MAX_WAV_BYTES = 512 * 1024 * 1024
"""The maximum size, since a recording is held in memory, once for all calls that play it."""

UNKNOWN_BYTES = 2**32 - 1
"""The length in the header of a file that was written to a pipe."""

NOT_BEFORE_3_12 = "unknown format: 65534"
"""WAVE_FORMAT_EXTENSIBLE, in the words of an older `wave`."""

SPEECH_DIRECTORY = Path(__file__).parent / "speech"


class UnusableRecording(ValueError):
    """The file cannot be used for a call; the message says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Little-endian PCM16, mono."""

    name: str
    sample_rate: int
    pcm: bytes = field(repr=False)

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.pcm) / (self.sample_rate * SAMPLE_WIDTH_BYTES)

    def frame_bytes(self, frame_ms: int) -> int:
        """Bytes of a frame of `frame_ms`; the rates divide by 1000, so that it is exact."""
        return self.sample_rate * frame_ms // 1_000 * SAMPLE_WIDTH_BYTES

    def frame_count(self, frame_ms: int) -> int:
        """Return the number of frames of `frame_ms`."""
        return -(-len(self.pcm) // self.frame_bytes(frame_ms))

    def frames(self, frame_ms: int) -> Iterator[bytes]:
        """Cut it into frames of `frame_ms`; the last may be shorter."""
        size = self.frame_bytes(frame_ms)
        return (self.pcm[start : start + size] for start in range(0, len(self.pcm), size))


def packaged_speech() -> list[Path]:
    """Return the recordings that come with the package, by rate: 8, 16 and 24 kHz."""
    return sorted(SPEECH_DIRECTORY.glob("*.wav"))


def read_recording(path: Path) -> Recording:
    """Read a WAV file.

    Raises:
        UnusableRecording: it cannot be read, is of another format, or is cut.

    """
    try:
        kind, size = path.stat().st_mode, path.stat().st_size
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise UnusableRecording(f"{path}: no file; write what comes through a pipe to one")
        if size > MAX_WAV_BYTES:
            raise UnusableRecording(f"{path}: larger than {MAX_WAV_BYTES >> 20} MiB")
        with wave.open(str(path), "rb") as wav:
            sample_rate = wav.getframerate()
            _check_format(path, wav.getsampwidth(), wav.getnchannels(), sample_rate)
            frames = wav.getnframes()
            pcm = wav.readframes(min(frames, size // SAMPLE_WIDTH_BYTES))
    except OSError as error:
        raise UnusableRecording(f"{path}: {error.strerror or 'cannot be read'}") from error
    except (wave.Error, EOFError, RuntimeError) as error:  # the last where a chunk is cut
        why = str(error) or "it is cut"
        if why == NOT_BEFORE_3_12:
            why = "its format is EXTENSIBLE, which Python reads from 3.12 on: write it as plain PCM"
        raise UnusableRecording(f"{path}: no PCM WAV file ({why})") from error
    found = len(pcm) // SAMPLE_WIDTH_BYTES
    if found < frames != UNKNOWN_BYTES // SAMPLE_WIDTH_BYTES:
        raise UnusableRecording(f"{path}: it is cut: {found} of {frames} frames")
    if not pcm or len(pcm) % SAMPLE_WIDTH_BYTES:
        raise UnusableRecording(f"{path}: no audio in it, or its last sample is cut")
    return Recording(path.name, sample_rate, pcm)


def _check_format(path: Path, width: int, channels: int, sample_rate: int) -> None:
    if width != SAMPLE_WIDTH_BYTES or channels != 1 or sample_rate not in SAMPLE_RATES_HZ:
        raise UnusableRecording(
            f"{path}: {width * 8} bits, {channels} channel(s), {sample_rate} Hz; "
            f"needed: 16 bits, mono, {', '.join(map(str, SAMPLE_RATES_HZ))} Hz"
        )
