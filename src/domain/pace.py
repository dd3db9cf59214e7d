"""How fast audio arrives, against the rate that its sender has declared.

Frames arrive in bursts after a stall, a resume or back-pressure, and stop if silence is suppressed.
So no average is used: the rate is wrong if several consecutive windows have the pace of another
telephony format. One different window resets the count.
"""

from domain.media import SAMPLE_RATES_HZ, MediaFormat

WINDOW_SECONDS = 2.5
"""The minimum length of a window; it ends with the next sample."""

TOLERANCE = 0.06
"""The tolerance of a window: 150 ms of jitter in the shortest."""

FAST_WINDOWS = 4
"""Consecutive windows, 10 to 16 s: live speech does not stay above its own rate for so long."""

SLOW_WINDOWS = 24
"""Consecutive windows, 60 to 96 s: silence suppression is not steady for so long."""

_SAMPLE_WIDTHS = (1, 2)


class Pace:
    """Judges the pace of audio: how much had arrived at which time."""

    def __init__(self, media: MediaFormat) -> None:
        self._declared = media.bytes_per_second
        self._others = sorted(
            {rate * width for rate in SAMPLE_RATES_HZ for width in _SAMPLE_WIDTHS}
            - {self._declared}
        )
        self._at: float | None = None
        self._bytes = 0
        self._row = 0
        self._row_rate: int | None = None
        self.bytes_per_second: float | None = None
        """The rate of the last complete window; None before the first."""

    def note(self, at: float, audio_bytes: int) -> int | None:
        """Record that `audio_bytes` of the run had arrived at monotonic `at`.

        Returns the real rate in bytes per second as long as it differs from the declared one.
        """
        if self._at is None or at < self._at or audio_bytes < self._bytes:
            self._begin_window(at, audio_bytes)
            self._row_rate, self._row = None, 0
            return None
        seconds = at - self._at
        if seconds < WINDOW_SECONDS:
            return None
        measured = (audio_bytes - self._bytes) / seconds
        self._begin_window(at, audio_bytes)
        self.bytes_per_second = measured
        rate = self._other_rate(measured)
        self._row = self._row + 1 if rate == self._row_rate else 1
        self._row_rate = rate
        if rate is None:
            return None
        needed = FAST_WINDOWS if rate > self._declared else SLOW_WINDOWS
        return rate if self._row >= needed else None

    def _begin_window(self, at: float, audio_bytes: int) -> None:
        self._at, self._bytes = at, audio_bytes

    def _other_rate(self, measured: float) -> int | None:
        """Return the rate of another format that a window has."""
        for rate in self._others:
            if abs(measured - rate) <= TOLERANCE * rate:
                return rate
        return None


def formats_of(bytes_per_second: int) -> tuple[str, ...]:
    """Return the formats of telephony that have such a rate."""
    names = {1: "8 bits", 2: "16 bits"}
    return tuple(
        f"{rate} Hz, {names[width]}"
        for rate in sorted(SAMPLE_RATES_HZ)
        for width in _SAMPLE_WIDTHS
        if rate * width == bytes_per_second
    )
