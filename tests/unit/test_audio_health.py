"""Frames of a run are measured beside their delivery: which, how many, and what is told of it."""

import asyncio
from contextlib import suppress

import pytest
from sender_bench import SenderBench, listened_to, stream_key, timeless, until
from stream_parts import opening

from application.audio_health import MAX_QUEUED, TURN_SAMPLES, audio_report
from application.delivery.live_stream import LiveStream
from domain.audio_health import Finding
from domain.events import EndReason, Resume
from domain.media import Encoding, MediaFormat

EVERY = 50
SECOND = b"\1\2" * 8_000
SILENT_SECOND = bytes(16_000)


def hear(bench: SenderBench, live: LiveStream, audio: bytes, frames: int) -> None:
    for _ in range(frames):
        assert bench.ingest(live, None, audio)


async def measured(bench: SenderBench) -> int:
    await until(lambda: not bench.health._queue)
    return bench.telemetry.samples["measured"]


@pytest.mark.parametrize(
    ("frame_ms", "every"), [(10, 50), (20, 50), (40, 25), (100, 10), (1500, 1)]
)
@timeless(frames_per_sample=EVERY)
async def test_the_first_frame_is_measured_and_then_one_for_so_much_audio(
    bench: SenderBench, frame_ms: int, every: int
) -> None:
    live = await bench.begin()
    audio = bytes(16 * frame_ms)
    hear(bench, live, audio, 1)
    assert await measured(bench) == 1
    hear(bench, live, audio, every - 1)
    assert await measured(bench) == 1
    hear(bench, live, audio, 1 + 3 * every)
    assert await measured(bench) == 5


@timeless()
async def test_nothing_is_measured_when_it_is_off(bench: SenderBench) -> None:
    live = await bench.begin()
    hear(bench, live, SILENT_SECOND, 200)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    assert audio_report(live) == {}
    assert not bench.telemetry.samples
    assert not bench.telemetry.ended_runs


@timeless(frames_per_sample=1)
async def test_frames_that_are_not_published_are_not_measured(bench: SenderBench) -> None:
    older = await bench.begin()
    bench.ingest(older, 5, b"ab")
    bench.ingest(older, 5, b"ab")
    bench.ingest.drop(older, 6)
    newer = await bench.begin(Resume())
    bench.ingest(older, 7, b"ab")
    bench.ingest(newer, 7, b"ab")
    assert await measured(bench) == 2


@timeless(frames_per_sample=EVERY)
async def test_a_silent_call_is_told_of_once_and_counted_when_it_ends(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    live = await bench.begin()
    hear(bench, live, SILENT_SECOND, 90)
    await measured(bench)
    assert bench.telemetry.findings == {"long_silence": 1}
    bench.end(live, EndReason.ENDED)
    await measured(bench)
    assert bench.telemetry.findings == {"long_silence": 1, "silent": 1}
    assert bench.telemetry.ended_runs == [("tenant", ("long_silence", "silent"))]
    long_silence, silent = caplog.records
    for told, finding in (long_silence, "long_silence"), (silent, "silent"):
        assert told.levelname == "WARNING"
        facts = vars(told)
        assert facts["finding"] == finding
        names = ("tenant_id", "interaction_id", "stream_id", "dialect")
        assert [facts[name] for name in names] == ["tenant", "call", "call", "exostreamkit"]
        assert facts["silent_seconds"] == facts["seconds"] >= 30
        assert facts["loudest_dbfs"] == -96
    assert audio_report(live)["findings"] == ["long_silence", "silent"]


@timeless(frames_per_sample=EVERY)
async def test_a_call_with_nothing_wrong_counts_as_ended_and_a_short_one_not_at_all(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    for number, seconds in enumerate((4, 6)):
        live = await bench.begin(stream=stream_key(f"call-{number}"))
        for second in range(seconds):
            hear(bench, live, bytes([second + 1, 7]) * 8_000, 1)
        bench.end(live, EndReason.ENDED)
    await measured(bench)
    assert bench.telemetry.ended_runs == [("tenant", ())]
    assert not caplog.records


@timeless(frames_per_sample=EVERY)
async def test_a_run_that_is_resumed_is_one_run(bench: SenderBench) -> None:
    older = await bench.begin()
    hear(bench, older, SILENT_SECOND, 20)
    bench.cut(older)
    newer = await bench.begin(Resume())
    hear(bench, newer, SILENT_SECOND, 60)
    await measured(bench)
    assert newer.audio_meter is older.audio_meter
    assert bench.telemetry.findings == {"long_silence": 1}
    bench.end(newer, EndReason.ENDED)
    another = await bench.begin()
    assert another.audio_meter is None


@timeless(frames_per_sample=EVERY)
async def test_a_start_with_another_format_is_another_run_and_measured_as_that(
    bench: SenderBench,
) -> None:
    older = await bench.begin()
    hear(bench, older, SECOND, 1)
    bench.cut(older)
    again = await bench.ask(opening(Resume(), media=MediaFormat(8_000, Encoding.MULAW)))
    newer = listened_to(again)
    hear(bench, newer, b"\xff\x7f" * 4_000, 1)
    await measured(bench)
    assert audio_report(newer)["level_dbfs"] == -96
    assert audio_report(older)["frames"] == audio_report(newer)["frames"] == 1


@timeless(frames_per_sample=1)
async def test_a_full_queue_drops_samples_and_no_frame(bench: SenderBench) -> None:
    live = await bench.begin()
    hear(bench, live, SECOND, MAX_QUEUED)
    assert not bench.telemetry.samples
    hear(bench, live, SECOND, 7)
    assert len(bench.health._queue) == MAX_QUEUED
    assert bench.telemetry.samples == {"dropped": 3}
    bench.end(live, EndReason.ENDED)
    assert await measured(bench) == MAX_QUEUED
    assert bench.telemetry.ended_runs == [("tenant", ("stuck",))]
    await until(lambda: live.log.is_empty)
    assert len(bench.store.seqs()) == MAX_QUEUED + 7


@timeless(frames_per_sample=EVERY)
async def test_what_is_dropped_is_tried_again_off_the_rhythm_of_the_queue(
    bench: SenderBench,
) -> None:
    other = await bench.begin(stream=stream_key("other"))
    live = await bench.begin()
    for _ in range(MAX_QUEUED):
        bench.health.take(other, SECOND, bench.clock.now)
    hear(bench, live, bytes(320), 1)
    assert live.audio_meter is None
    assert live.until_sample == 2 * EVERY + 1


@timeless(frames_per_sample=1)
async def test_a_turn_measures_so_many_and_leaves_the_loop_to_others(bench: SenderBench) -> None:
    live = await bench.begin()
    hear(bench, live, SECOND, 2 * TURN_SAMPLES)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.telemetry.samples["measured"] == TURN_SAMPLES
    assert await measured(bench) == 2 * TURN_SAMPLES


@timeless(frames_per_sample=1)
async def test_what_waits_when_the_service_stops_is_measured(bench: SenderBench) -> None:
    live = await bench.begin()
    hear(bench, live, SILENT_SECOND, 10)
    bench.end(live, EndReason.SHUTDOWN)
    bench.measuring.cancel()
    with suppress(asyncio.CancelledError):
        await bench.measuring
    assert bench.telemetry.ended_runs == [("tenant", ("silent",))]


@timeless(frames_per_sample=1)
async def test_a_bug_costs_the_samples_of_one_call(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    live = await bench.begin()
    bench.health.take(live, b"abc", bench.clock.now)  # half a sample, which no frame has
    other = await bench.begin(stream=stream_key("other"))
    hear(bench, other, SECOND, 1)
    await measured(bench)
    (told,) = caplog.records
    assert told.message == "audio not measured"
    assert vars(told)["stream_id"] == "call"
    hear(bench, live, SECOND, 3)
    hear(bench, other, SECOND, 1)
    assert await measured(bench) == 3
    assert audio_report(other)["frames"] == 2


@timeless(frames_per_sample=EVERY)
async def test_the_sender_that_is_twice_too_fast_is_found_by_the_clock(bench: SenderBench) -> None:
    live = await bench.begin()
    for second in range(15):
        hear(bench, live, bytes([second + 1, 1]) * 16_000, 1)
        await asyncio.sleep(1)
    await measured(bench)
    assert bench.telemetry.findings == {Finding.WRONG_RATE: 1}
    assert audio_report(live)["rate_is_of"] == ("16000 Hz, 16 bits",)
