"""The sender of the fault lab does what docs/connecting.md advises, and its history is clean."""

import asyncio
from typing import Any

import pytest
from history import LOST, SentStream
from history_judge import judge
from published import Broker, audio, entries
from resuming_call import Stuck
from resuming_sender import ResumingSender, unique_audio
from running import Service, free_port
from waiting import until


async def until_confirmed(sender: ResumingSender, frames: int) -> None:
    await until(lambda: sender.confirmed >= frames)


@pytest.mark.parametrize("is_binary", [False, True])
async def test_a_call_over_several_connections_is_one_run_of_all_its_frames(
    service: Service, broker: Broker, name: str, is_binary: bool
) -> None:
    sender = ResumingSender(service.url, window=50, pace=0.001)
    stream = SentStream(name)
    calling = asyncio.create_task(sender.call(stream, 400, is_binary=is_binary))
    for confirmed in (50, 150, 250):
        await until_confirmed(sender, confirmed)
        sender.cut()
    await calling
    assert sender.connections == 4
    assert sender.confirmed == 400
    assert audio(broker, name) == [(n, unique_audio(name, 1, n, 320)) for n in range(400)]
    assert judge(stream, entries(broker, name)) == []
    assert len(stream.runs) == 1


async def test_runs_of_one_stream_follow_each_other(
    service: Service, broker: Broker, name: str
) -> None:
    sender = ResumingSender(service.url)
    stream = SentStream(name)
    for frames in (250, 300):
        await sender.call(stream, frames)
    assert judge(stream, entries(broker, name)) == []
    assert [len(run.digests) for run in stream.runs] == [250, 300]
    assert {seq for run in stream.runs for _, seq in run.acks} <= set(range(300))


async def test_what_is_taken_out_of_the_stream_is_found_missing(
    service: Service, broker: Broker, name: str
) -> None:
    stream = SentStream(name)
    await ResumingSender(service.url).call(stream, 250)
    broker.xdel(f"rtaa:audio:{{tenant-abc/{name}}}", "1-100")
    [missing] = [d for d in judge(stream, entries(broker, name)) if d.kind == LOST]
    assert (missing.count, missing.what[:7]) == (1, "seqs 99")


async def test_no_more_than_the_window_is_unacknowledged(
    start_service: Any, broker: Broker, name: str
) -> None:
    sender = ResumingSender(start_service(ACK_INTERVAL="0").url, window=60, limit_seconds=0.5)
    stream = SentStream(name)
    with pytest.raises(Stuck):
        await sender.call(stream, 250)
    assert len(stream.runs[0].digests) == 60


async def test_a_service_that_is_not_there_is_not_waited_for_for_ever(name: str) -> None:
    sender = ResumingSender(f"ws://127.0.0.1:{free_port()}/v1/ingest", limit_seconds=0.3)
    with pytest.raises(Stuck):
        await sender.call(SentStream(name), 250)
