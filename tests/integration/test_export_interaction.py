"""`rtaa-ingest export` of an interaction: all of its streams, and two tracks as one stereo file."""

import asyncio
import json
import wave
from array import array
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import run
from published_calls import PublishedCall, PublishedCalls, now_ms

from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from application.ports.destination import DestinationOptions
from domain.media import Encoding, MediaFormat
from entrypoints.cli import stereo, wav_file
from entrypoints.cli.export import export
from entrypoints.cli.wav_file import WavFile

LEFT, RIGHT = 1_000, 2_000
FRAME = 160
"""Samples of a frame of 20 ms."""


async def test_two_tracks_of_a_call_are_one_stereo_file(
    valkey: EmbeddedValkey, tmp_path: Path, name: str
) -> None:
    destination = RedisDestination(DestinationOptions(), valkey.url)
    caller = PublishedCall(f"{name}-s", "demo", interaction=f"{name}-c")
    agent = PublishedCall(
        f"{name}-s.outbound", "demo", interaction=f"{name}-c", track="outbound"
    )  # fmt: skip
    other = PublishedCall(f"{name}-other", "demo", interaction=f"{name}-d")
    caller.amplitude, agent.amplitude = LEFT, RIGHT
    published, at_ms = PublishedCalls(destination), now_ms()
    await published.put(caller.start(), agent.start(), other.start())
    await published.put(caller.speak(3, at_ms=at_ms + 40), agent.speak(2, at_ms=at_ms + 60))
    await published.put(caller.end(), agent.end(), other.end())
    await destination.close()
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    done = run("export", "demo", f"{name}-c", "--output", str(tmp_path), env=environment)
    assert done.returncode == 0, done.stderr
    written = {it.name for it in tmp_path.glob("*.wav")}
    stereo = f"demo_{name}-s_run1_stereo.wav"
    assert written == {f"demo_{name}-s_run1.wav", f"demo_{name}-s.outbound_run1.wav", stereo}
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert f"stereo: {stereo}" in done.stdout
    with wave.open(str(tmp_path / stereo)) as wav:
        assert (wav.getnchannels(), wav.getframerate()) == (2, 8_000)
        samples = array("h", wav.readframes(wav.getnframes()))
    left = [abs(it) for it in samples[0::2]]
    right = [abs(it) for it in samples[1::2]]
    assert left == [LEFT] * (3 * FRAME) + [0] * FRAME
    assert right == [0] * (2 * FRAME) + [RIGHT] * (2 * FRAME)  # its first came 40 ms later
    alone = tmp_path / "alone"
    done = run("export", "demo", f"{name}-s", "--output", str(alone), env=environment)
    assert done.returncode == 0
    assert [it.name for it in alone.glob("*.wav")] == [f"demo_{name}-s_run1.wav"]


async def test_a_run_that_fills_its_wav_file_ends_there_and_the_rest_is_written(
    valkey: EmbeddedValkey, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 10 * 2 * FRAME
    for module in (wav_file, stereo):
        monkeypatch.setattr(module, "MAX_AUDIO_BYTES", room)
    destination = RedisDestination(DestinationOptions(), valkey.url)
    caller = PublishedCall(f"{name}-s", "demo", interaction=f"{name}-c")
    agent = PublishedCall(
        f"{name}-s.outbound", "demo", interaction=f"{name}-c", track="outbound"
    )  # fmt: skip
    published = PublishedCalls(destination)
    await published.put(caller.start(), agent.start())
    await published.put(caller.speak(8), agent.speak(4))
    await published.put(caller.speak(1, skip=4))  # the silence does not fit, the frame would
    await published.put(caller.end(), agent.end())
    await published.put(caller.start())
    await published.put(caller.speak(2))
    await published.put(caller.end())
    await destination.close()
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    arguments = ["demo", f"{name}-c", "--output", str(tmp_path)]
    done = await asyncio.to_thread(CliRunner().invoke, export, arguments, env=environment)
    assert done.exit_code == 0, done.output
    stems = [f"demo_{name}-s_run1", f"demo_{name}-s_run2", f"demo_{name}-s.outbound_run1"]
    told = [json.loads((tmp_path / f"{stem}.json").read_text()) for stem in stems]
    assert told[0]["incomplete_because"][0] == "the WAV file is full: it holds at most 4 GiB"
    assert [(it["frames"], it["complete"]) for it in told] == [(9, False), (2, True), (4, True)]
    assert [it["wav_ms"] for it in told] == [160, 40, 80]
    assert {it.name for it in tmp_path.glob("*.wav")} == {f"{stem}.wav" for stem in stems}


def test_samples_are_read_back_in_either_encoding(tmp_path: Path) -> None:
    for encoding, written, read in (
        (Encoding.PCM16, b"\x01\x00\xff\xff", [1, -1]),
        (Encoding.MULAW, b"\xff\x00\x80", [0, -32_124, 32_124]),
    ):
        wav = WavFile(tmp_path / f"{encoding.value}.wav", MediaFormat(8_000, encoding))
        wav.write(written)
        wav.close()
        assert [sample for piece in wav.samples() for sample in piece] == read
