"""How loud one frame is: digital silence, level, samples at full scale."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from domain.media import Encoding
from domain.mulaw import LINEAR

MAX_VALUES = 80
"""How many samples of a frame are measured, evenly spread: half of those of 20 ms at 8 kHz."""

FULL_SCALE = 32_124
"""The largest value of µ-law, 0.2 dB below that of 16 bits: what was clipped on a telephone line
and turned into linear PCM ends there."""

OVERLOAD = 32_768
"""0 dBFS: the RMS value of a square wave as large as 16 bits hold. A sine has at most -3 dBFS."""

LOWEST_DBFS = -96.0
"""The level of digital silence, and of anything below one bit."""


class FrameLevel(NamedTuple):
    """The level of one frame: `values` samples were measured, `clipped` of them are at full scale.

    `is_silent` is about the whole frame: PCM16 all zero, µ-law all 0xFF or 0x7F. `energy` is the
    sum of the squares of the values, on the scale of 16 bits.
    """

    is_silent: bool
    values: int
    clipped: int
    energy: int

    @property
    def dbfs(self) -> float:
        """The RMS level."""
        return dbfs(self.energy, self.values)

    @property
    def share(self) -> float:
        """The RMS level as a share of full scale: 0 is silence, 1 the maximum."""
        share: float = (self.energy / self.values) ** 0.5 / OVERLOAD
        return share


def level_of(audio: bytes, encoding: Encoding) -> FrameLevel:
    """Return the level of a frame of whole samples, at least one."""
    values = _mulaw_values(audio) if encoding is Encoding.MULAW else _pcm16_values(audio)
    energy = sum([value * value for value in values])
    clipped = 0
    if max(values) >= FULL_SCALE or min(values) <= -FULL_SCALE:
        clipped = len([it for it in values if it >= FULL_SCALE or it <= -FULL_SCALE])
    is_silent = not energy and _is_zero(audio, encoding)
    return FrameLevel(is_silent, len(values), clipped, energy)


def dbfs(energy: int, values: int) -> float:
    """Return the RMS level of `values` samples whose squares add up to `energy`."""
    if not energy:
        return LOWEST_DBFS
    return max(LOWEST_DBFS, 10 * math.log10(energy / values / OVERLOAD**2))


def _is_zero(audio: bytes, encoding: Encoding) -> bool:
    if encoding is Encoding.MULAW:
        return audio.count(0xFF) + audio.count(0x7F) == len(audio)
    return audio.count(0) == len(audio)


def _pcm16_values(audio: bytes) -> Sequence[int]:
    step = 2 * _step(len(audio) // 2)
    pairs = zip(audio[0::step], audio[1::step], strict=True)
    return [((high ^ 0x80) << 8 | low) - 0x8000 for low, high in pairs]


def _mulaw_values(audio: bytes) -> Sequence[int]:
    return [LINEAR[code] for code in audio[:: _step(len(audio))]]


def _step(samples: int) -> int:
    """Return the step between samples so that no more than `MAX_VALUES` are measured."""
    return -(-samples // MAX_VALUES)
