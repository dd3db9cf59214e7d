"""What is found of recorded speech: nothing as it is, and the usual mistakes of senders."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from domain.audio_health import AudioMeter, Finding, MeasuredFrame
from domain.media import Encoding, MediaFormat
from entrypoints.carrier.recording import Recording, packaged_speech, read_recording


@pytest.fixture(params=packaged_speech(), ids=lambda path: path.stem)
def speech(request: pytest.FixtureRequest) -> Recording:
    path: Path = request.param
    return read_recording(path)


def found(audio: bytes, media: MediaFormat) -> list[Finding]:
    """Return what is found of a run that plays the audio some times, with a sample a second."""
    size = media.bytes_per_second // 50
    whole = audio * 8
    meter = AudioMeter(media)
    findings: list[Finding] = []
    for at in range(0, len(whole) - size, size * 50):
        findings += meter.measure(MeasuredFrame(whole[at : at + size], 0.0, at + size))
    assert meter.is_judged
    return [*findings, *meter.end()]


def samples(speech: Recording) -> Sequence[int]:
    return memoryview(speech.pcm).cast("h").tolist()


def mulaw(speech: Recording) -> bytes:
    """Return it as G.711 µ-law."""
    codes = bytearray()
    for value in samples(speech):
        biased = min(abs(value), 32_635) + 132
        segment = biased.bit_length() - 8
        codes.append(~((value < 0) << 7 | segment << 4 | biased >> segment + 3 & 15) & 0xFF)
    return bytes(codes)


def test_nothing_is_wrong_with_it(speech: Recording) -> None:
    assert found(speech.pcm, MediaFormat(speech.sample_rate)) == []
    assert found(mulaw(speech), MediaFormat(speech.sample_rate, Encoding.MULAW)) == []


def test_another_byte_order_is_loud_noise(speech: Recording) -> None:
    swapped = memoryview(speech.pcm).cast("h")
    big_endian = b"".join((value & 0xFFFF).to_bytes(2, "big") for value in swapped)
    assert found(big_endian, MediaFormat(speech.sample_rate)) == [Finding.CLIPPED]


def test_mulaw_that_is_labelled_pcm_is_loud_noise(speech: Recording) -> None:
    assert found(mulaw(speech) * 2, MediaFormat(speech.sample_rate)) == [Finding.CLIPPED]


def test_a_hundredth_of_it_is_quiet(speech: Recording) -> None:
    low = b"".join((value // 200).to_bytes(2, "little", signed=True) for value in samples(speech))
    assert found(low * 2, MediaFormat(speech.sample_rate)) == [Finding.QUIET]
