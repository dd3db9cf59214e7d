"""Findings about the audio of a run, from a sample of its frames.

    finding        condition
    ──────────────────────────────────────────────────────────────────────────────────────────
    silent         every frame measured was digital silence; judged when the run ends
    long_silence   the frames measured were digital silence for `LONG_SECONDS` on end
    stuck          the frames measured had the same bytes, other than silence, for as long
    clipped        of `CLIPPED_FRAMES` frames with sound `CLIPPED_SHARE` of the samples are at
                   full scale
    quiet          no frame measured is above `QUIET_DBFS` in the first `QUIET_SECONDS`, and some
                   are not digital silence
    wrong_rate     bytes arrive steadily at the rate of another format (`pace`)

Seconds are of audio: only for `wrong_rate` it matters how fast it came. `long_silence`, `stuck` and
`quiet` take at least `MIN_FRAMES` frames. A run that ends is judged, as `silent` or not, if
`MIN_END_FRAMES` of it were measured over `MIN_END_SECONDS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from domain.audio_level import LOWEST_DBFS, FrameLevel, dbfs, level_of
from domain.media import MediaFormat
from domain.pace import Pace, formats_of

LONG_SECONDS = 30.0
MIN_FRAMES = 15
MIN_END_FRAMES = 3
MIN_END_SECONDS = 5.0
CLIPPED_FRAMES = 20
CLIPPED_SHARE = 0.005
QUIET_DBFS = -50.0
QUIET_SECONDS = 60.0


class Finding(StrEnum):
    """A defect of the audio of a run; see the table."""

    SILENT = "silent"
    LONG_SILENCE = "long_silence"
    STUCK = "stuck"
    CLIPPED = "clipped"
    QUIET = "quiet"
    WRONG_RATE = "wrong_rate"


class MeasuredFrame(NamedTuple):
    """One frame of a run: received at monotonic `at`, and the last of `run_bytes` of audio."""

    audio: bytes
    at: float
    run_bytes: int


@dataclass(frozen=True, slots=True)
class AudioFigures:
    """The measurements of a run.

    `frames` were measured, over `seconds` of audio. `level_dbfs` is of the frames with sound,
    `loudest_dbfs` of the loudest frame. `silent_seconds` and `repeated_seconds` tell for how long
    the latest frames have been digital silence, or identical. `bytes_per_second` is that of the
    last complete window.
    """

    frames: int
    seconds: float
    level_dbfs: float
    loudest_dbfs: float
    clipped_share: float
    silent_seconds: float
    repeated_seconds: float
    declared_bytes_per_second: int
    bytes_per_second: float | None
    rate_is_of: tuple[str, ...]


class _Row:
    """Consecutive frames with a common property."""

    def __init__(self) -> None:
        self._first = 0
        self._last = 0
        self.frames = 0

    def extend(self, run_bytes: int, size: int) -> None:
        if not self.frames:
            self._first = run_bytes - size
        self.frames += 1
        self._last = run_bytes

    def clear(self) -> None:
        self._first = self._last = self.frames = 0

    @property
    def bytes(self) -> int:
        """The time from the beginning of the first frame to the end of the last."""
        return self._last - self._first


class AudioMeter:
    """Measures frames of a run, in order, and returns each finding once."""

    def __init__(self, media: MediaFormat) -> None:
        self._media = media
        self._pace = Pace(media)
        self._all, self._silent, self._same = _Row(), _Row(), _Row()
        self._run_bytes = 0
        self._last: tuple[int, int] | None = None
        self._values = self._clipped = self._energy = self._audible = 0
        self._block_values = self._block_clipped = 0
        self._loudest_dbfs = LOWEST_DBFS
        self._rate_is_of: tuple[str, ...] = ()
        self._findings: list[Finding] = []
        self.level: FrameLevel | None = None
        """The level of the last measured frame."""

    @property
    def findings(self) -> Sequence[Finding]:
        """The findings so far, in the order in which they were found."""
        return tuple(self._findings)

    @property
    def is_judged(self) -> bool:
        """Whether enough was measured to judge at the end of the run whether it was silent."""
        enough = self._seconds(self._all) >= MIN_END_SECONDS
        return enough and self._all.frames >= MIN_END_FRAMES

    @property
    def figures(self) -> AudioFigures:
        """The measurements so far."""
        return AudioFigures(
            frames=self._all.frames,
            seconds=self._seconds(self._all),
            level_dbfs=dbfs(self._energy, self._values),
            loudest_dbfs=self._loudest_dbfs,
            clipped_share=self._clipped / self._values if self._values else 0.0,
            silent_seconds=self._seconds(self._silent),
            repeated_seconds=self._seconds(self._same) if self._same.frames > 1 else 0.0,
            declared_bytes_per_second=self._media.bytes_per_second,
            bytes_per_second=self._pace.bytes_per_second,
            rate_is_of=self._rate_is_of,
        )

    def measure(self, frame: MeasuredFrame) -> Sequence[Finding]:
        """Measure the next frame; return the new findings."""
        size = len(frame.audio)
        if frame.run_bytes < self._run_bytes:  # its store has lost some of the run
            for row in (self._all, self._silent, self._same):
                row.clear()
        self._run_bytes = frame.run_bytes
        self.level = level = level_of(frame.audio, self._media.encoding)
        self._all.extend(frame.run_bytes, size)
        found = []
        if level.is_silent:
            self._silent.extend(frame.run_bytes, size)
            self._same.clear()
            self._last = None
            if self._is_long(self._silent):
                found.append(Finding.LONG_SILENCE)
        else:
            self._silent.clear()
            found += self._measure_sound(frame, level)
        if self._is_quiet:
            found.append(Finding.QUIET)
        rate = self._pace.note(frame.at, frame.run_bytes)
        if rate is not None:
            self._rate_is_of = formats_of(rate)
            found.append(Finding.WRONG_RATE)
        return self._tell(found)

    def end(self) -> Sequence[Finding]:
        """Judge the run as a whole; return the new findings."""
        is_silent = not self._audible and self.is_judged
        return self._tell([Finding.SILENT] if is_silent else [])

    def _measure_sound(self, frame: MeasuredFrame, level: FrameLevel) -> Sequence[Finding]:
        found = []
        key = (len(frame.audio), hash(frame.audio))  # the frame itself would be held for long
        if key != self._last:
            self._same.clear()
            self._last = key
        self._same.extend(frame.run_bytes, len(frame.audio))
        if self._is_long(self._same):
            found.append(Finding.STUCK)
        self._loudest_dbfs = max(self._loudest_dbfs, level.dbfs)
        self._values += level.values
        self._clipped += level.clipped
        self._energy += level.energy
        self._block_values += level.values
        self._block_clipped += level.clipped
        self._audible += 1
        if self._audible % CLIPPED_FRAMES == 0:
            if self._block_clipped >= CLIPPED_SHARE * self._block_values:
                found.append(Finding.CLIPPED)
            self._block_values = self._block_clipped = 0
        return found

    @property
    def _is_quiet(self) -> bool:
        return (
            self._audible > 0
            and self._loudest_dbfs <= QUIET_DBFS
            and self._all.frames >= MIN_FRAMES
            and self._seconds(self._all) >= QUIET_SECONDS
        )

    def _is_long(self, row: _Row) -> bool:
        return row.frames >= MIN_FRAMES and self._seconds(row) >= LONG_SECONDS

    def _seconds(self, row: _Row) -> float:
        return row.bytes / self._media.bytes_per_second

    def _tell(self, found: Sequence[Finding]) -> Sequence[Finding]:
        new = [finding for finding in found if finding not in self._findings]
        self._findings += new
        return new
