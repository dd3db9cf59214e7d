"""Two tracks of a call as one stereo WAV file: the caller's side left, the other one right.

The tracks are set side by side by the wall clock of their first frames.
"""

import sys
import wave
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from domain.events import Opening
from entrypoints.cli.run_export import RunExport
from entrypoints.cli.wav_file import MAX_AUDIO_BYTES, WavFile

MAX_LEAD_MS = 3_600_000
"""Tracks that begin further apart are not of one conversation."""

SAMPLE_BYTES = 2


def pairs(runs: Sequence[RunExport]) -> Iterator[tuple[RunExport, RunExport]]:
    """Yield runs that are two tracks of one socket, and have audio for one file: left, right.

    Another track than the first is named by it: `STREAM.TRACK`.
    """
    for left in runs:
        for right in runs:
            mine, its = opening_of(left), opening_of(right)
            if mine is None or its is None or its.track is None or left.number != right.number:
                continue
            is_other = its.stream.stream_id == f"{mine.stream.stream_id}.{its.track}"
            if is_other and _lead_ms(left, right) is not None:
                yield left, right


def opening_of(run: RunExport) -> Opening | None:
    """Return the `Started` of a run, if it is kept."""
    return None if run.started is None else run.started.opening


def write_stereo(left: RunExport, right: RunExport) -> Path:
    """Write two runs of `pairs` as one file, beside that of the left one; return its path."""
    lead_ms = _lead_ms(left, right)
    if lead_ms is None or left.wav is None or right.wav is None:
        raise ValueError("no pair")
    path = left.wav_path.with_name(f"{left.wav_path.stem}_stereo.wav")
    rate = left.wav.media.sample_rate
    sides = (
        _Side(left.wav, max(0, -lead_ms) * rate // 1_000),
        _Side(right.wav, max(0, lead_ms) * rate // 1_000),
    )
    with path.open("wb") as file, wave.open(file, "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(SAMPLE_BYTES)
        wav.setframerate(rate)
        while not all(side.is_over for side in sides):
            first, second = (side.take(rate) for side in sides)
            both = array("h", bytes(2 * SAMPLE_BYTES * max(len(first), len(second))))
            both[0 : 2 * len(first) : 2] = first
            both[1 : 2 * len(second) : 2] = second
            if sys.byteorder == "big":
                both.byteswap()
            wav.writeframesraw(both.tobytes())
    return path


def _lead_ms(left: RunExport, right: RunExport) -> int | None:
    """Return by how much the left one began earlier; None if they are not a pair."""
    if left.wav is None or right.wav is None:
        return None
    if left.wav.media.sample_rate != right.wav.media.sample_rate:
        return None
    began, its = left.first_received_at_ms, right.first_received_at_ms
    if began is None or its is None or abs(its - began) > MAX_LEAD_MS:
        return None
    return its - began if _fit(left.wav, right.wav, its - began) else None


def _fit(left: WavFile, right: WavFile, lead_ms: int) -> bool:
    """Whether both, the lead of one included, fit into one file."""
    longest_ms = max(it.media.duration_ms(it.audio_bytes) for it in (left, right)) + abs(lead_ms)
    samples = longest_ms * left.media.sample_rate // 1_000
    return 2 * SAMPLE_BYTES * samples <= MAX_AUDIO_BYTES


class _Side:
    """One channel, after some silence."""

    def __init__(self, wav: WavFile, silent_samples: int) -> None:
        self._pieces = wav.samples()
        self._held = array("h", bytes(SAMPLE_BYTES * silent_samples))
        self.is_over = False

    def take(self, count: int) -> "array[int]":
        """Return the next samples; fewer at the end."""
        while len(self._held) < count and not self.is_over:
            piece = next(self._pieces, None)
            if piece is None:
                self.is_over = True
            else:
                self._held.extend(piece)
        taken, self._held = self._held[:count], self._held[count:]
        self.is_over = self.is_over and not self._held
        return taken
