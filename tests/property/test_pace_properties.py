"""The pace of a sender: honest ones are never found, whatever their network does; others are."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.media import SAMPLE_RATES_HZ, Encoding, MediaFormat
from domain.pace import FAST_WINDOWS, SLOW_WINDOWS, WINDOW_SECONDS, Pace, formats_of
from examples import examples

MEDIA = st.builds(MediaFormat, st.sampled_from(sorted(SAMPLE_RATES_HZ)), st.sampled_from(Encoding))
RATES = [0, *{rate * width for rate in SAMPLE_RATES_HZ for width in (1, 2)}]
RANDOMS = st.randoms(use_true_random=True)
FRAME_SECONDS = st.sampled_from([0.02, 0.06, 0.1, 0.2])
SAMPLE_SECONDS = 1.0
JITTER_SECONDS = 0.07

Arrival = tuple[float, int]
"""When a frame came, and how much audio the run has with it."""


def arrivals(
    spoken: Sequence[float], frame_bytes: int, delay: Iterator[float] | None = None
) -> list[Arrival]:
    """Return how frames come that were spoken at these times, in order and with delays."""
    came, at = [], 0.0
    for number, time in enumerate(spoken, start=1):
        at = max(at, time + (next(delay) if delay else 0.0))
        came.append((at, number * frame_bytes))
    return came


def judged(media: MediaFormat, came: Sequence[Arrival], every: int) -> list[tuple[float, int]]:
    """Return when another rate was found, and which, with one frame in some as a sample."""
    pace, found = Pace(media), []
    for at, run_bytes in came[::every]:
        rate = pace.note(at, run_bytes)
        assert (pace.bytes_per_second or 0) >= 0
        if rate is not None:
            found.append((at, rate))
    return found


def steady(seconds: float, frame_seconds: float) -> list[float]:
    return [number * frame_seconds for number in range(int(seconds / frame_seconds))]


def jitter(random: Random) -> Iterator[float]:
    while True:
        yield random.uniform(0, JITTER_SECONDS)


@given(MEDIA, MEDIA, FRAME_SECONDS, RANDOMS)
def test_the_rate_of_another_format_is_found_in_time(
    declared: MediaFormat, sent: MediaFormat, frame_seconds: float, random: Random
) -> None:
    frame_bytes = round(frame_seconds * sent.bytes_per_second)
    came = arrivals(steady(120, frame_seconds), frame_bytes, jitter(random))
    found = judged(declared, came, round(SAMPLE_SECONDS / frame_seconds))
    if sent.bytes_per_second == declared.bytes_per_second:
        assert not found
        return
    is_fast = sent.bytes_per_second > declared.bytes_per_second
    windows = FAST_WINDOWS if is_fast else SLOW_WINDOWS
    first, rate = found[0]
    assert rate == sent.bytes_per_second
    longest_window = WINDOW_SECONDS + SAMPLE_SECONDS
    assert windows * WINDOW_SECONDS <= first + JITTER_SECONDS <= (windows + 1) * longest_window
    assert any(str(sent.sample_rate) in name for name in formats_of(rate))


@given(
    MEDIA,
    FRAME_SECONDS,
    st.lists(st.tuples(st.floats(0, 120), st.floats(0, 45)), max_size=8),
    st.integers(1, 100),
)
def test_stalls_and_bursts_are_no_other_rate(
    media: MediaFormat, frame_seconds: float, stalls: list[tuple[float, float]], every: int
) -> None:
    """A stall is back-pressure, a resume, or a start that had to wait: then all comes at once."""

    def delays(spoken: Sequence[float]) -> Iterator[float]:
        for time in spoken:
            yield max((at + lasts - time for at, lasts in stalls if at <= time), default=0.0)

    spoken = steady(150, frame_seconds)
    frame_bytes = round(frame_seconds * media.bytes_per_second)
    delay = (max(0.0, seconds) for seconds in delays(spoken))
    assert not judged(media, arrivals(spoken, frame_bytes, delay), every)


@given(MEDIA, FRAME_SECONDS, st.floats(0.3, 3), st.floats(0.3, 3), RANDOMS)
def test_suppressed_silence_is_no_other_rate(
    media: MediaFormat, frame_seconds: float, talks: float, pauses: float, random: Random
) -> None:
    """Talk and pauses last as long as in telephony: about exponentially, some for longer."""
    spoken, time = [], 0.0
    while time < 300:
        ends = time + random.expovariate(1 / talks)
        while time < ends:
            spoken.append(time)
            time += frame_seconds
        time += random.expovariate(1 / pauses)
    frame_bytes = round(frame_seconds * media.bytes_per_second)
    came = arrivals(spoken, frame_bytes, jitter(random))
    assert not judged(media, came, round(SAMPLE_SECONDS / frame_seconds))


@given(MEDIA, st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_a_run_of_which_the_store_lost_some_is_measured_from_there(
    media: MediaFormat, cuts: list[float]
) -> None:
    spoken = steady(120, 0.02)
    frame_bytes = round(0.02 * media.bytes_per_second)
    lost, came = 0, []
    for (before, _), (at, run_bytes) in pairwise(arrivals(spoken, frame_bytes)):
        lost += sum(before < cut <= at for cut in cuts) * frame_bytes * 100
        came.append((at, max(0, run_bytes - lost)))
    assert not judged(media, came, 50)


@settings(max_examples=examples(40))
@given(MEDIA, st.lists(st.tuples(st.sampled_from(RATES), st.integers(1, 26)), max_size=6))
def test_a_rate_is_found_with_the_last_window_that_it_needs_in_a_row(
    media: MediaFormat, rows: list[tuple[int, int]]
) -> None:
    """Whole windows of one rate after the other. Samples inside a window change nothing."""
    declared = media.bytes_per_second
    pace, at, run_bytes = Pace(media), 0.0, 0
    measured: list[int] = []
    pace.note(at, run_bytes)
    for rate in (rate for rate, windows in rows for _ in range(windows)):
        pace.note(at, run_bytes)
        pace.note(at + WINDOW_SECONDS / 2, run_bytes)
        at, run_bytes = at + WINDOW_SECONDS, run_bytes + round(rate * WINDOW_SECONDS)
        measured.append(rate)
        row = len(list(takewhile(rate.__eq__, reversed(measured))))
        needed = FAST_WINDOWS if rate > declared else SLOW_WINDOWS
        is_found = rate not in (0, declared) and row >= needed
        assert pace.note(at, run_bytes) == (rate if is_found else None)
        assert pace.bytes_per_second == rate


@pytest.mark.parametrize(("excess", "found"), [(0.06, 8_000), (-0.06, 8_000), (0.061, None)])
def test_a_window_is_of_a_rate_up_to_six_hundredths_beside_it(
    excess: float, found: int | None
) -> None:
    pace, measured = Pace(MediaFormat(8_000)), round(8_000 * (1 + excess))
    rates = [pace.note(2 * it, 2 * it * measured) for it in range(2 * SLOW_WINDOWS + 1)]
    assert rates[-1] == found


def test_the_formats_of_a_rate_are_named() -> None:
    assert formats_of(8_000) == ("8000 Hz, 8 bits",)
    assert formats_of(16_000) == ("8000 Hz, 16 bits", "16000 Hz, 8 bits")
    assert formats_of(11_025) == ()
