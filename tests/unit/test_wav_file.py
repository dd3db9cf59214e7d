"""A WAV file that cannot be written is one error, without a traceback of what it left."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.media import Encoding, MediaFormat
from entrypoints.cli.proof import Proof, write_wav
from entrypoints.cli.wav_file import WavFile


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python would write to standard error as an exception that it ignores."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)
    return found


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_path_that_cannot_be_written(
    tmp_path: Path, encoding: Encoding, ignored: list[Any]
) -> None:
    with pytest.raises(IsADirectoryError):
        WavFile(tmp_path, MediaFormat(8_000, encoding))
    with pytest.raises(IsADirectoryError):
        write_wav(tmp_path, Proof(8_000, b"", {}, is_identical=True))
    gc.collect()
    assert ignored == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_device_that_is_full(encoding: Encoding, ignored: list[Any]) -> None:
    wav = WavFile(Path("/dev/full"), MediaFormat(8_000, encoding))
    with pytest.raises(OSError, match="No space left"):
        wav.write(bytes(100_000))
    with pytest.raises(OSError, match="No space left"):
        wav.close()
    wav.close()
    del wav
    gc.collect()
    assert ignored == []
