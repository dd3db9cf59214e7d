"""WAV files written piece by piece, PCM16 and µ-law."""

import struct
import sys
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from domain.media import Encoding, MediaFormat
from domain.mulaw import LINEAR

MAX_AUDIO_BYTES = 2**32 - 1024
"""A WAV file counts its bytes in 32 bits; the header needs some."""

SILENCE = {Encoding.PCM16: b"\x00", Encoding.MULAW: b"\xff"}
"""The byte that silence is made of; 0xFF is positive zero of G.711 µ-law."""

PIECE_BYTES = 64 * 1024

_FORMAT_MULAW = 7
"""WAVE_FORMAT_MULAW; a format that is not PCM has an 18 byte `fmt` chunk and a `fact` chunk."""

_MULAW_HEADER = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")

_PCM_HEADER_BYTES = 44
"""What the standard library writes in front of the samples."""


class _Sink(Protocol):
    def writeframesraw(self, data: bytes, /) -> None: ...

    def close(self) -> None: ...


class WavFile:
    """A WAV file of `media`, being written."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        self.path, self.media = path, media
        self._sink: _Sink = _open_sink(path, media)
        self.audio_bytes = 0

    def has_room_for(self, size: int) -> bool:
        """Whether `size` more bytes of audio fit into the format."""
        return self.audio_bytes + size <= MAX_AUDIO_BYTES

    def write(self, audio: bytes) -> None:
        """Add audio; there is room for it."""
        self._sink.writeframesraw(audio)
        self.audio_bytes += len(audio)

    def write_silence(self, size: int) -> None:
        """Add `size` bytes of silence; there is room for it."""
        piece = SILENCE[self.media.encoding] * PIECE_BYTES
        for start in range(0, size, PIECE_BYTES):
            self.write(piece[: size - start])

    def close(self) -> None:
        """Complete the header. Calling it again does nothing."""
        self._sink.close()

    def samples(self) -> Iterator["array[int]"]:
        """Yield the samples of a file that is complete, piece by piece, as linear 16 bit."""
        with self.path.open("rb") as file:
            is_mulaw = self.media.encoding is Encoding.MULAW
            file.seek(_MULAW_HEADER.size if is_mulaw else _PCM_HEADER_BYTES)
            left = self.audio_bytes
            while left and (piece := file.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                if is_mulaw:
                    yield array("h", [LINEAR[code] for code in piece])
                else:
                    yield linear(piece)


def linear(piece: bytes) -> "array[int]":
    """Return samples that are written little-endian."""
    samples = array("h", piece)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _open_sink(path: Path, media: MediaFormat) -> _Sink:
    if media.encoding is Encoding.MULAW:
        return _MulawSink(path, media)
    return _PcmSink(path, media)


class _PcmSink(_Sink):
    """The standard library, given an open file: where it cannot open one it leaves a traceback."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        self._file: BinaryIO = path.open("wb")
        self._wav = wave.open(self._file, "wb")  # noqa: SIM115  # closed by `close`
        self._wav.setnchannels(media.channels)
        self._wav.setsampwidth(media.sample_width // media.channels)
        self._wav.setframerate(media.sample_rate)

    def writeframesraw(self, data: bytes, /) -> None:
        self._wav.writeframesraw(data)

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._wav.close()
        finally:
            self._file.close()


class _MulawSink(_Sink):
    """RIFF by hand: the standard library writes PCM only."""

    def __init__(self, path: Path, media: MediaFormat) -> None:
        self._media = media
        self._size = 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header())

    def writeframesraw(self, data: bytes, /) -> None:
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            if self._size % 2:
                self._file.write(b"\x00")  # chunks are of even length
            self._file.seek(0)
            self._file.write(self._header())
        finally:
            self._file.close()

    def _header(self) -> bytes:
        media, size = self._media, self._size
        riff_size = _MULAW_HEADER.size - 8 + size + size % 2
        fmt = (18, _FORMAT_MULAW, media.channels, media.sample_rate, media.bytes_per_second)
        fact = (b"fact", 4, size // media.channels)
        return _MULAW_HEADER.pack(
            *(b"RIFF", riff_size, b"WAVE", b"fmt ", *fmt),
            *(media.channels, 8, 0, *fact, b"data", size),
        )
