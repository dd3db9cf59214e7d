"""The level of a frame, against arithmetic over all of its samples."""

import math
import struct
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from domain.audio_level import FULL_SCALE, LOWEST_DBFS, MAX_VALUES, dbfs, level_of
from domain.media import Encoding
from domain.mulaw import LINEAR

VALUES = st.one_of(
    st.integers(-32_768, 32_767),
    st.sampled_from([0, 32_767, -32_768, FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1]),
)


def expanded(code: int) -> int:
    """A µ-law code as G.711 has it: sign, segment and interval, in 14 bits; here in 16."""
    sign, segment, interval = (-1 if code < 0x80 else 1), ~code >> 4 & 7, ~code & 0x0F
    return sign * 4 * ((2 * interval + 33 << segment) - 33)


def rms_dbfs(values: Sequence[int]) -> float:
    power = sum((value / 32_768) ** 2 for value in values) / len(values)
    return max(LOWEST_DBFS, 10 * math.log10(power)) if power else LOWEST_DBFS


def clipped(values: Sequence[int]) -> int:
    return sum(abs(value) >= FULL_SCALE for value in values)


@given(st.lists(VALUES, min_size=1, max_size=MAX_VALUES))
@example([-32_768])
@example([0] * MAX_VALUES)
def test_every_sample_of_a_short_frame_counts(values: list[int]) -> None:
    level = level_of(struct.pack(f"<{len(values)}h", *values), Encoding.PCM16)
    assert level.values == len(values)
    assert level.is_silent == (not any(values))
    assert level.clipped == clipped(values)
    assert math.isclose(level.dbfs, rms_dbfs(values), abs_tol=1e-6)


def test_each_mulaw_code_has_the_sample_of_its_standard() -> None:
    assert list(LINEAR) == [expanded(code) for code in range(256)]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=MAX_VALUES))
@example([0xFF, 0x7F])
@example([0x00, 0x80])
def test_mulaw_is_expanded_as_its_standard_says(codes: list[int]) -> None:
    values = [expanded(code) for code in codes]
    level = level_of(bytes(codes), Encoding.MULAW)
    assert level.energy == sum(value * value for value in values)
    assert level.is_silent == (not any(values))
    assert level.clipped == clipped(values)


@given(st.integers(1, 50_000), st.integers(0, 49_999), VALUES.filter(bool))
def test_one_sample_is_enough_to_be_not_silent(samples: int, place: int, value: int) -> None:
    values = [0] * samples
    values[place % samples] = value
    level = level_of(struct.pack(f"<{samples}h", *values), Encoding.PCM16)
    assert not level.is_silent
    assert 1 <= level.values <= MAX_VALUES


@given(st.integers(1, 50_000), VALUES, st.sampled_from(Encoding))
def test_the_level_of_what_does_not_change_is_that_of_one_sample(
    samples: int, value: int, encoding: Encoding
) -> None:
    one = struct.pack("<h", value) if encoding is Encoding.PCM16 else bytes([value & 0xFF])
    long, short = level_of(one * samples, encoding), level_of(one, encoding)
    assert math.isclose(long.dbfs, short.dbfs, abs_tol=1e-9)
    assert (long.clipped == long.values) == (short.clipped == 1)


def test_a_square_wave_at_full_scale_has_no_more_than_0_dbfs() -> None:
    assert dbfs(32_768**2 * 10, 10) == 0
    assert dbfs(0, 10) == LOWEST_DBFS == dbfs(1, 10**12)
