"""Which WAV files a simulated call can be made of."""

import os
import struct
import sys
import wave
from pathlib import Path

import pytest

from entrypoints.carrier.recording import UNKNOWN_BYTES, UnusableRecording, read_recording

FRAMES = 800
HEADER_BYTES = 44
LENGTH_AT = HEADER_BYTES - 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a.wav"
    with wave.open(str(found), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8_000)
        wav.writeframes(b"\1\2" * FRAMES)
    return found


def test_a_whole_file_is_read(path: Path) -> None:
    assert read_recording(path).pcm == b"\1\2" * FRAMES


@pytest.mark.parametrize(("kept_bytes", "kept_frames"), [(0, 0), (256, 128), (257, 128)])
def test_a_file_that_is_cut_is_refused(path: Path, kept_bytes: int, kept_frames: int) -> None:
    path.write_bytes(path.read_bytes()[: HEADER_BYTES + kept_bytes])
    with pytest.raises(UnusableRecording, match=f"it is cut: {kept_frames} of {FRAMES} frames"):
        read_recording(path)


def test_a_file_whose_length_its_writer_did_not_know_is_read_to_its_end(path: Path) -> None:
    """ffmpeg cannot return to the header of a file that it writes to a pipe."""
    whole = bytearray(path.read_bytes())
    struct.pack_into("<I", whole, LENGTH_AT, UNKNOWN_BYTES)
    path.write_bytes(whole)
    assert read_recording(path).pcm == b"\1\2" * FRAMES
    path.write_bytes(whole[:-1])
    with pytest.raises(UnusableRecording, match="cut"):
        read_recording(path)


def test_a_chunk_that_is_cut_is_told_as_that(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    struct.pack_into("<I", whole, 16, 17)  # `fmt `, with a pad byte after the end of the file
    struct.pack_into("<I", whole, 4, 29)
    path.write_bytes(whole[:37])
    with pytest.raises(UnusableRecording, match=r"\(it is cut\)"):
        read_recording(path)


@pytest.mark.parametrize("content", [b"", b"RIFF"])
def test_a_file_without_a_header_is_told_as_cut(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnusableRecording, match=r"no PCM WAV file \(it is cut\)"):
        read_recording(path)


def test_an_extensible_header_is_read_or_named(path: Path) -> None:
    """Some programs write it for plain PCM as well."""
    pcm = path.read_bytes()[HEADER_BYTES:]
    subformat = struct.pack("<IHH8s", 1, 0, 16, bytes.fromhex("800000aa00389b71"))
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8_000, 16_000, 2, 16, 22, 16, 4) + subformat
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(pcm))
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks + pcm)) + b"WAVE" + chunks + pcm)
    if sys.version_info >= (3, 12):
        assert read_recording(path).pcm == pcm
    else:
        with pytest.raises(UnusableRecording, match="EXTENSIBLE"):
            read_recording(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UnusableRecording, match="no file"):
        read_recording(pipe)
