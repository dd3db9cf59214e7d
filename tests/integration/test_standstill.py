"""Short interruptions of calls: the broker's scripts, the service, a line."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from published import Broker, audio, entries
from running import Caller, Service, pcm
from steady_calls import ExostreamkitCall, steady_calls
from waiting import until, until_state

FLUSHES = 10
STANDSTILL_SECONDS = 2.0
IDLE_SECONDS = 1.0


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


# Scripts


def cached_scripts(lab: BrokerLab) -> int:
    with lab.client() as client:
        memory: Any = client.info("memory")
    return int(memory["number_of_cached_scripts"])


async def test_scripts_that_are_flushed_again_and_again_cost_no_frame_and_no_error(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = start_service(REDIS_URL=lab.url, ACK_INTERVAL="1")
    short: list[ExostreamkitCall] = []
    async with steady_calls(service.url, name) as calls:
        for number in range(FLUSHES):
            await until(lambda: cached_scripts(lab) > 0)
            spoken = calls[0].frames
            lab.forget_scripts()
            short.append(await ExostreamkitCall.dial(service.url, f"{name}-{number}"))
            await short[-1].say_frame(0)
            short[-1].frames = 1
            lab.forget_scripts()
            await short[-1].finish()
            await calls[0].hear_ack(spoken + 1)
    with lab.client() as broker:
        for call in [*calls, *short]:
            call.assert_whole(broker)
        errors: Any = broker.info("errorstats")
    assert errors["errorstat_NOSCRIPT"]["count"] >= 2 * FLUSHES
    assert service.metric("ingest_replayed_frames_total") == 0
    assert service.metric("ingest_rebased_streams_total") == 0
    assert service.metric("ingest_frames_total", outcome="lost") == 0


# The service


async def test_a_service_that_stands_still_for_two_seconds_continues_with_its_calls(
    process: Any, broker: Broker, name: str
) -> None:
    standing = process(RESUME_SECONDS="1", IDLE_TIMEOUT_SECONDS="1")
    process(RESUME_SECONDS="1")  # that would take over
    async with steady_calls(standing.url, name) as calls:
        exostreamkit, _ = calls
        await exostreamkit.hear_ack(19)
        os.kill(standing.process.pid, signal.SIGSTOP)
        try:
            late = asyncio.create_task(ExostreamkitCall.dial(standing.url, f"{name}-late"))
            await asyncio.sleep(STANDSTILL_SECONDS)  # what is promised is about just so long
            assert not late.done()
        finally:
            os.kill(standing.process.pid, signal.SIGCONT)
        await exostreamkit.hear_ack(exostreamkit.frames + 20)
        await (after := await late).finish()
    for call in [*calls, after]:
        call.assert_whole(broker)


# The line


def open_streams(service: Service) -> float:
    return service.metric("ingest_streams", dialect="exostreamkit")


def ends(broker: Broker, name: str) -> list[str]:
    return [e["data"]["reason"] for _, e in entries(broker, name) if e["type"] == "ended"]


async def test_a_half_open_sender_is_ended_once_as_idle(
    start_service: Any, broker: Broker, name: str
) -> None:
    service: Service = start_service(IDLE_TIMEOUT_SECONDS=str(IDLE_SECONDS), RESUME_SECONDS="0")
    with ChaosProxy(service.port) as proxy:
        caller = await Caller.dial(f"ws://{proxy.host}:{proxy.port}/v1/ingest")
        await caller.start(name)
        await caller.speak(*range(10))
        await caller.hear_ack(9)
        proxy.black_hole()
        await caller.speak(10)  # arrives nowhere
        await until_state(broker, name, "ended")
        await until(lambda: open_streams(service) == 0)
        caller.reset()
        proxy.reset()  # what is late to be noticed ends nothing a second time
        later = await Caller.dial(service.url)
        assert (await later.start(name))["generation"] == 2
        await later.speak(0)
        assert (await later.end())["received"] == 1
    assert ends(broker, name) == ["idle", "ended"]
    first = next(e for _, e in entries(broker, name) if e["type"] == "ended")
    assert first["data"]["ledger"]["published"] == 10
    assert "recovered" not in first["data"]


async def test_a_half_open_sender_that_comes_back_in_time_resumes_and_its_old_line_ends_nothing(
    start_service: Any, broker: Broker, name: str
) -> None:
    service: Service = start_service(IDLE_TIMEOUT_SECONDS=str(IDLE_SECONDS), RESUME_SECONDS="0")
    with ChaosProxy(service.port) as proxy:
        caller = await Caller.dial(f"ws://{proxy.host}:{proxy.port}/v1/ingest")
        await caller.start(name)
        await caller.speak(*range(10))
        await caller.hear_ack(9)
        proxy.black_hole()
        await caller.speak(10, 11)  # arrives nowhere
        again = await Caller.dial(service.url)
        assert (await again.start(name, resume=True))["last_seq"] == 9
        await again.speak(10, 11)
        await until(lambda: open_streams(service) == 1)
        # longer than the old line may be idle
        for seq in range(12, 12 + round(2 * IDLE_SECONDS / 0.1)):
            await again.speak(seq)
            await asyncio.sleep(0.1)
        proxy.reset()
        ledger = await again.end()
        caller.reset()
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(seq + 1)]
    assert (ledger["published"], ledger["missing"], ledger["duplicate"]) == (seq + 1, 0, 0)
    assert ends(broker, name) == ["ended"]
