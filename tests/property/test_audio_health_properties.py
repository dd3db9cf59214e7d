"""What is found of a run's audio, against definitions that look at all frames again and again."""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.audio_health import (
    CLIPPED_FRAMES,
    CLIPPED_SHARE,
    LONG_SECONDS,
    MIN_END_FRAMES,
    MIN_END_SECONDS,
    MIN_FRAMES,
    QUIET_DBFS,
    QUIET_SECONDS,
    AudioFigures,
    AudioMeter,
    Finding,
    MeasuredFrame,
)
from domain.media import Encoding, MediaFormat

MEDIA = MediaFormat(8_000)
SIZE = 160


def pcm(*values: int) -> bytes:
    """Return 10 ms that repeat these values."""
    return struct.pack(f"<{len(values)}h", *values) * (80 // len(values))


SOUNDS = {
    "silence": pcm(0),
    "speech": pcm(3_000, -2_000, 500, -1_500),
    "other speech": pcm(2_000, -3_000, 1_500, -500),
    "clipped": pcm(32_767, 32_767, -32_768, -32_768),
    "hardly clipped": struct.pack("<80h", 32_767, *[400] * 79),
    "hum": pcm(20, -20),
    "other hum": pcm(30, -10),
}
JUST_CLIPPED = round(CLIPPED_FRAMES * CLIPPED_SHARE * SIZE / 2)
"""So many frames that are hardly clipped, with one such sample each, are enough."""
KIND_OF = {audio: kind for kind, audio in SOUNDS.items()}


@dataclass(frozen=True)
class Block:
    """So many measured frames of sounds in turn, each the last of so many frames."""

    sounds: tuple[str, ...]
    frames: int
    every: int


BLOCKS = st.builds(
    Block,
    st.lists(st.sampled_from(sorted(SOUNDS)), min_size=1, max_size=3).map(tuple),
    st.integers(1, 70),
    st.sampled_from([1, 100, 300]),
)


def sampled(blocks: Sequence[Block]) -> Iterator[MeasuredFrame]:
    run_bytes = 0
    for block in blocks:
        for number in range(block.frames):
            run_bytes += block.every * SIZE
            audio = SOUNDS[block.sounds[number % len(block.sounds)]]
            yield MeasuredFrame(audio, run_bytes / MEDIA.bytes_per_second, run_bytes)


class Oracle:
    """Holds every frame, and judges them by the words of the table."""

    def __init__(self) -> None:
        self.frames: list[MeasuredFrame] = []

    def found(self) -> set[Finding]:
        """What the frames show up to now, with the last one among them."""
        found = set()
        if self.lasts_long(lambda audio: audio == SOUNDS["silence"]):
            found.add(Finding.LONG_SILENCE)
        last = self.frames[-1].audio
        if last != SOUNDS["silence"] and self.lasts_long(lambda audio: audio == last):
            found.add(Finding.STUCK)
        if self.is_clipped():
            found.add(Finding.CLIPPED)
        if self.is_quiet():
            found.add(Finding.QUIET)
        return found

    @property
    def audible(self) -> list[bytes]:
        return [it.audio for it in self.frames if it.audio != SOUNDS["silence"]]

    @staticmethod
    def seconds(frames: Sequence[MeasuredFrame]) -> float:
        return (frames[-1].run_bytes - frames[0].run_bytes + SIZE) / MEDIA.bytes_per_second

    def lasts_long(self, belongs: Callable[[bytes], bool]) -> bool:
        row: list[MeasuredFrame] = []
        for frame in reversed(self.frames):
            if not belongs(frame.audio):
                break
            row.insert(0, frame)
        return len(row) >= MIN_FRAMES and self.seconds(row) >= LONG_SECONDS

    def is_clipped(self) -> bool:
        audible = self.audible
        if not audible or len(audible) % CLIPPED_FRAMES or self.frames[-1].audio != audible[-1]:
            return False
        values = [value for it in audible[-CLIPPED_FRAMES:] for value in samples(it)]
        at_full_scale = [value for value in values if abs(value) > 32_000]
        return len(at_full_scale) >= CLIPPED_SHARE * len(values)

    def is_quiet(self) -> bool:
        audible = self.audible
        return (
            bool(audible)
            and max(map(level, audible)) <= QUIET_DBFS
            and len(self.frames) >= MIN_FRAMES
            and self.seconds(self.frames) >= QUIET_SECONDS
        )

    @property
    def is_judged(self) -> bool:
        enough = bool(self.frames) and self.seconds(self.frames) >= MIN_END_SECONDS
        return enough and len(self.frames) >= MIN_END_FRAMES


@cache  # there are as many as SOUNDS, and each is looked at with every later frame
def samples(audio: bytes) -> Sequence[int]:
    return struct.unpack(f"<{len(audio) // 2}h", audio)


@cache
def level(audio: bytes) -> float:
    values = samples(audio)
    return 10 * math.log10(sum(it * it for it in values) / len(values) / 32_768**2)


@given(st.lists(BLOCKS, max_size=6))
@example([Block(("silence",), 30, 100)])
@example([Block(("silence",), 14, 300), Block(("speech",), 1, 1)])
@example([Block(("hum",), 60, 100), Block(("speech",), 60, 100)])
@example([Block(("speech", "hardly clipped"), 40, 100)])
@example([Block(("hardly clipped",), JUST_CLIPPED, 1), Block(("speech",), CLIPPED_FRAMES, 1)])
@example(
    [Block(("hardly clipped",), JUST_CLIPPED - 1, 1), Block(("speech",), CLIPPED_FRAMES, 1)] * 2
)
def test_everything_is_found_when_the_frames_show_it_and_once(blocks: list[Block]) -> None:
    meter, oracle = AudioMeter(MEDIA), Oracle()
    told: list[Finding] = []
    for frame in sampled(blocks):
        oracle.frames.append(frame)
        found = meter.measure(frame)
        assert set(found) == oracle.found() - set(told)
        told += found
        assert list(meter.findings) == told
    is_silent = oracle.is_judged and not oracle.audible
    assert meter.is_judged == oracle.is_judged
    assert list(meter.end()) == [Finding.SILENT] * is_silent
    assert not meter.end()


@given(st.lists(BLOCKS, min_size=1, max_size=4))
def test_the_figures_are_those_of_all_frames(blocks: list[Block]) -> None:
    meter, oracle = AudioMeter(MEDIA), Oracle()
    for frame in sampled(blocks):
        oracle.frames.append(frame)
        meter.measure(frame)
    figures, audible = meter.figures, oracle.audible
    assert figures.frames == len(oracle.frames)
    assert figures.seconds == oracle.seconds(oracle.frames)
    values = [value for audio in audible for value in samples(audio)]
    if values:
        assert math.isclose(figures.level_dbfs, level(b"".join(audible)), abs_tol=1e-6)
        assert math.isclose(figures.loudest_dbfs, max(map(level, audible)), abs_tol=1e-6)
        share = sum(abs(value) > 32_000 for value in values) / len(values)
        assert math.isclose(figures.clipped_share, share, abs_tol=1e-9)
    else:
        assert figures.level_dbfs == figures.loudest_dbfs == -96
        assert figures.silent_seconds == figures.seconds


@given(st.lists(BLOCKS, max_size=4), st.lists(BLOCKS, max_size=4), st.integers(0, 10**6))
def test_a_store_that_lost_some_of_the_run_begins_every_row_again(
    before: list[Block], after: list[Block], kept: int
) -> None:
    """Bytes fall back: no row reaches over that, and none is negative."""
    meter = AudioMeter(MEDIA)
    last = 0
    for frame in sampled(before):
        meter.measure(frame)
        last = frame.run_bytes
    kept = kept % (last // 2 + 1) // SIZE * SIZE
    for frame in sampled(after):
        moved = MeasuredFrame(frame.audio, frame.at + last, frame.run_bytes + kept)
        meter.measure(moved)
        figures = meter.figures
        assert 0 <= figures.silent_seconds <= figures.seconds
        assert 0 <= figures.repeated_seconds <= figures.seconds


def test_before_the_first_frame_all_figures_are_of_nothing() -> None:
    figures = AudioFigures(0, 0.0, -96.0, -96.0, 0.0, 0.0, 0.0, MEDIA.bytes_per_second, None, ())
    assert AudioMeter(MEDIA).figures == figures


@pytest.mark.parametrize("less", [0, 2])
def test_silence_is_long_from_its_first_byte_to_its_last(less: int) -> None:
    meter, end = AudioMeter(MEDIA), round(LONG_SECONDS * MEDIA.bytes_per_second) - less
    for number in range(MIN_FRAMES):
        run_bytes = SIZE + number * SIZE
        assert not meter.measure(MeasuredFrame(SOUNDS["silence"], 0.0, run_bytes))
    found = meter.measure(MeasuredFrame(SOUNDS["silence"], 0.0, end))
    assert list(found) == ([] if less else [Finding.LONG_SILENCE])


@pytest.mark.parametrize(("clipped", "found"), [(7, []), (8, [Finding.CLIPPED])])
def test_the_clipped_share_is_of_the_samples_of_each_block(
    clipped: int, found: list[Finding]
) -> None:
    """Of 20 frames of 79 samples 7.9 are enough."""
    meter = AudioMeter(MEDIA)
    for number in range(2 * CLIPPED_FRAMES):
        loudest = 32_767 if number % CLIPPED_FRAMES < clipped else 400
        audio = struct.pack("<79h", loudest, *[400] * 78)
        meter.measure(MeasuredFrame(audio, 0.0, (number + 1) * len(audio)))
    assert list(meter.findings) == found


def test_mulaw_silence_has_two_zeros() -> None:
    meter = AudioMeter(MediaFormat(8_000, Encoding.MULAW))
    found: list[Finding] = []
    for second in range(1, 32):
        audio = (b"\xff" if second % 2 else b"\x7f") * 160
        found += meter.measure(MeasuredFrame(audio, second, second * 8_000))
    assert found == [Finding.LONG_SILENCE]
    assert list(meter.end()) == [Finding.SILENT]


def test_a_wrong_rate_is_told_with_the_formats_that_have_it() -> None:
    meter = AudioMeter(MEDIA)
    found: list[Finding] = []
    for second in range(1, 20):
        audio = SOUNDS["speech" if second % 2 else "other speech"]
        found += meter.measure(MeasuredFrame(audio, second, second * 32_000))
    assert found == [Finding.WRONG_RATE]
    assert meter.figures.rate_is_of == ("16000 Hz, 16 bits",)
    assert meter.figures.bytes_per_second == 32_000
    assert meter.figures.declared_bytes_per_second == 16_000
