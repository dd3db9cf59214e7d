import pytest

from domain.errors import FrameTooLarge, InvalidAudio, InvalidMedia, InvalidSequenceNumber
from domain.media import AudioFrame, Encoding, MediaFormat
from domain.sequence import MAX_SEQ

PCM_8K = MediaFormat(8_000)
MULAW_8K = MediaFormat(8_000, Encoding.MULAW)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_the_four_rates_are_supported(rate: int) -> None:
    assert MediaFormat(rate).sample_rate == rate


@pytest.mark.parametrize("rate", [0, -8_000, 1, 7_999, 8_001, 11_025, 22_050, 44_100, 96_000])
def test_another_rate_is_refused(rate: int) -> None:
    with pytest.raises(InvalidMedia, match="8000, 16000, 24000, 48000"):
        MediaFormat(rate)


@pytest.mark.parametrize("channels", [0, -1, 2, 6])
def test_only_mono_is_supported(channels: int) -> None:
    with pytest.raises(InvalidMedia, match="channels"):
        MediaFormat(8_000, Encoding.PCM16, channels)


def test_a_sample_is_two_bytes_of_pcm_and_one_of_mulaw() -> None:
    assert (PCM_8K.sample_width, MULAW_8K.sample_width) == (2, 1)


@pytest.mark.parametrize(
    ("media", "second"),
    [
        (PCM_8K, 16_000),
        (MULAW_8K, 8_000),
        (MediaFormat(16_000), 32_000),
        (MediaFormat(24_000), 48_000),
        (MediaFormat(48_000), 96_000),
    ],
)
def test_a_second_of_audio_lasts_a_second(media: MediaFormat, second: int) -> None:
    assert media.bytes_per_second == second
    assert media.duration_ms(second) == 1_000
    assert media.duration_ms(second * 3_600 * 4) == 4 * 3_600_000


@pytest.mark.parametrize(
    ("size", "duration_ms"), [(0, 0), (2, 0), (14, 0), (16, 1), (30, 1), (32, 2), (320, 20)]
)
def test_a_duration_is_whole_milliseconds_rounded_down(size: int, duration_ms: int) -> None:
    assert PCM_8K.duration_ms(size) == duration_ms


@pytest.mark.parametrize("size", [2, 4, 320, 3_200, 99_998, 100_000])
def test_a_frame_holds_whole_samples_up_to_100000_bytes(size: int) -> None:
    frame = AudioFrame(PCM_8K, 0, 0, b"\x01" * size)
    assert len(frame.audio) == size


def test_a_frame_of_mulaw_may_be_odd() -> None:
    assert AudioFrame(MULAW_8K, 0, 0, b"\xff").audio_ms == 0
    assert AudioFrame(MULAW_8K, 0, 0, b"\xff" * 161).audio_ms == 20


def test_a_frame_knows_how_long_it_lasts() -> None:
    assert AudioFrame(PCM_8K, 0, 0, bytes(320)).audio_ms == 20
    assert AudioFrame(MediaFormat(48_000), 0, 0, bytes(320)).audio_ms == 3


@pytest.mark.parametrize(
    ("size", "reason"), [(0, "at least one sample"), *((it, "whole") for it in (1, 3, 319, 99_999))]
)
def test_a_frame_that_is_empty_or_ends_inside_a_sample_is_refused(size: int, reason: str) -> None:
    with pytest.raises(InvalidAudio, match=reason) as refused:
        AudioFrame(PCM_8K, 0, 0, bytes(size))
    assert not isinstance(refused.value, FrameTooLarge)


@pytest.mark.parametrize("size", [100_001, 100_002, 262_144])
def test_a_frame_above_100000_bytes_is_too_large(size: int) -> None:
    for media in (PCM_8K, MULAW_8K):
        with pytest.raises(FrameTooLarge):
            AudioFrame(media, 0, 0, bytes(size))


@pytest.mark.parametrize("seq", [0, 1, 2**32, MAX_SEQ])
def test_a_seq_is_between_0_and_the_largest_integer_of_a_double(seq: int) -> None:
    assert AudioFrame(PCM_8K, seq, 0, b"\0\0").seq == seq
    assert MAX_SEQ == 9_007_199_254_740_991


@pytest.mark.parametrize("seq", [-1, -(2**53), 2**53, 10**4_000])
def test_a_seq_outside_is_refused(seq: int) -> None:
    with pytest.raises(InvalidSequenceNumber):
        AudioFrame(PCM_8K, seq, 0, b"\0\0")
