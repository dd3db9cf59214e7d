"""Packs entries that wait for long, into little more memory than their audio.

As objects a frame takes some 500 bytes beside its audio, which is more than the 320 bytes of 20 ms
at 8 kHz. A packed batch is one block of audio and three arrays of numbers.
"""

from array import array
from collections.abc import Sequence

from domain.entries import Entry
from domain.media import AudioFrame, MediaFormat


class PackedEntries:
    """Consecutive entries of one stream."""

    __slots__ = ("_audio", "_lengths", "_media", "_others", "_received_at_ms", "_seqs")

    def __init__(self, entries: Sequence[Entry], media: MediaFormat) -> None:
        frames = [entry for entry in entries if isinstance(entry, AudioFrame)]
        self._media = media
        self._audio = b"".join([frame.audio for frame in frames])
        self._lengths = array("L", [len(frame.audio) for frame in frames])
        self._seqs = array("Q", [frame.seq for frame in frames])
        self._received_at_ms = array("Q", [frame.received_at_ms for frame in frames])
        self._others = [
            (index, entry)
            for index, entry in enumerate(entries)
            if not isinstance(entry, AudioFrame)
        ]

    def unpack(self) -> list[Entry]:
        """Return the entries."""
        entries: list[Entry] = []
        others = iter(self._others)
        at, other = next(others, (-1, None))
        start = 0
        for seq, received_at_ms, length in zip(
            self._seqs, self._received_at_ms, self._lengths, strict=True
        ):
            while other is not None and at == len(entries):
                entries.append(other)
                at, other = next(others, (-1, None))
            audio = self._audio[start : start + length]
            start += length
            entries.append(AudioFrame(self._media, seq, received_at_ms, audio))
        if other is not None:
            entries += [other, *(entry for _, entry in others)]
        return entries
