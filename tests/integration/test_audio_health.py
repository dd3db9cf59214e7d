"""What is wrong with the audio of calls is found at the door, and costs none of it."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender, media
from log_lines import lines_of
from published import Broker, audio
from running import Caller, ServiceProcess, audio_message
from waiting import until

from domain.audio_health import Finding
from domain.pace import FAST_WINDOWS, WINDOW_SECONDS
from entrypoints.carrier.recording import packaged_speech, read_recording

FRAME_BYTES = 1_600
"""100 ms at 8 kHz."""

FRAMES = 400
"""40 s of audio, sent as fast as the service takes it."""

FRAME_SECONDS = 0.1
WRONG_SECONDS = FAST_WINDOWS * WINDOW_SECONDS + 5


def speech() -> list[bytes]:
    """Return recorded speech as frames, over and over until it lasts."""
    whole = read_recording(packaged_speech()[0]).pcm
    whole *= -(-FRAMES * FRAME_BYTES // len(whole))
    return [whole[at : at + FRAME_BYTES] for at in range(0, FRAMES * FRAME_BYTES, FRAME_BYTES)]


def clipped(frames: Iterable[bytes]) -> list[bytes]:
    """Return the frames as if they had been amplified until they hardly fit."""

    def loud(frame: bytes) -> bytes:
        values = memoryview(frame).cast("h").tolist()
        return b"".join(
            max(-32_768, min(32_767, 40 * value)).to_bytes(2, "little", signed=True)
            for value in values
        )

    return list(map(loud, frames))


async def call(service: ServiceProcess, name: str, frames: list[bytes], seconds: float = 0) -> None:
    """Send a whole call, a frame each so many seconds, however busy the machine is."""
    caller = await Caller.dial(service.url)
    await caller.start(name)
    began = time.monotonic()
    for seq, frame in enumerate(frames):
        await asyncio.sleep(began + seq * seconds - time.monotonic())
        await caller.say(audio_message(seq, frame))
    assert (await caller.end())["published"] == len(frames)


async def agentstream_call(service: ServiceProcess, name: str, frames: list[bytes]) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    for chunk, frame in enumerate(frames, start=1):
        await sender.say(media(name, chunk, frame))
    assert await sender.stop(name) == 1000
    assert not sender.told


def found(service: ServiceProcess) -> dict[str, int]:
    name = "ingest_audio_health_streams_total"
    counts = {finding.value: int(service.metric(name, kind=finding.value)) for finding in Finding}
    return {finding: count for finding, count in counts.items() if count}


async def until_judged(service: ServiceProcess, runs: int) -> None:
    await until(lambda: service.metric("ingest_audio_health_runs_total") >= runs)


async def test_each_kind_of_bad_audio_is_found_in_its_call_and_nowhere_else(
    process: Any, name: str, broker: Broker
) -> None:
    service = process()
    good = speech()
    twice = [first + second for first, second in zip(good[::2], good[1::2], strict=True)]
    wrong = twice[: round(WRONG_SECONDS / FRAME_SECONDS)]
    calls = {
        "good": good,
        "silent": [bytes(FRAME_BYTES)] * FRAMES,
        "clipped": clipped(good),
        "stuck": [good[20]] * FRAMES,
    }
    paced = asyncio.create_task(call(service, f"{name}-wrong", wrong, FRAME_SECONDS))
    for number, (kind, frames) in enumerate(calls.items(), start=1):
        await call(service, f"{name}-{kind}", frames)
        await until_judged(service, number)  # so much audio at once is all that the queue holds
    await agentstream_call(service, f"{name}-agentstream", calls["silent"])
    await paced
    await until_judged(service, len(calls) + 2)
    assert found(service) == {
        "silent": 2, "long_silence": 2, "clipped": 1, "stuck": 1, "wrong_rate": 1
    }  # fmt: skip
    ended = "ingest_audio_health_run_findings_total"
    assert service.metric(ended, tenant="tenant-abc", kind="silent") == 2
    assert service.metric(ended, tenant="tenant-abc", kind="wrong_rate") == 1
    assert service.metric("ingest_audio_health_samples_total", outcome="dropped") == 0
    for kind, frames in calls.items():
        assert [frame for _, frame in audio(broker, f"{name}-{kind}")] == frames
    check_lines(service.log, name)


def check_lines(log: Path, name: str) -> None:
    lines = lines_of(log, ["audio is not as it should be"])
    told = {(line["stream_id"].removeprefix(f"{name}-"), line["finding"]) for line in lines}
    assert len(told) == len(lines), "once for each run and finding"
    assert told == {
        ("silent", "long_silence"), ("silent", "silent"),
        ("agentstream", "long_silence"), ("agentstream", "silent"),
        ("clipped", "clipped"), ("stuck", "stuck"), ("wrong", "wrong_rate"),
    }  # fmt: skip
    by_finding = {line["finding"]: line for line in lines}
    wrong = by_finding["wrong_rate"]
    assert wrong["declared_bytes_per_second"] == 16_000
    assert wrong["bytes_per_second"] == pytest.approx(32_000, rel=0.06)
    assert wrong["rate_is_of"] == ["16000 Hz, 16 bits"]
    assert by_finding["clipped"]["clipped_share"] > 0.01
    assert by_finding["stuck"]["repeated_seconds"] >= 30
    for line in lines:
        assert line["level"] == "warning"
        assert line["tenant_id"] == "tenant-abc"
        assert {"interaction_id", "stream_id", "dialect", "loudest_dbfs"} <= line.keys()


async def test_nothing_is_measured_when_it_is_off(process: Any, name: str) -> None:
    service = process(AUDIO_HEALTH_SAMPLE="0")
    await call(service, name, [bytes(FRAME_BYTES)] * FRAMES)
    assert found(service) == {}
    assert service.metric("ingest_audio_health_samples_total") == 0
    assert service.metric("ingest_audio_health_runs_total") == 0
