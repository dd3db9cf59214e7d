"""SIGTERM while calls are held: who comes back is let go at once, who would not may finish."""

import asyncio
import base64
import signal
import time
import urllib.request
from typing import Any

import pytest
from broker_lab import BrokerLab
from log_lines import lines_of
from published import Broker, audio, entries, facts
from running import Caller, ServiceProcess, pcm
from waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

SID = "5f0c2b7e41d84a6fa3d2c8e5b1760a90"


def terminate(service: ServiceProcess) -> None:
    service.process.send_signal(signal.SIGTERM)


async def exit_status(service: ServiceProcess, seconds: float = 15) -> int:
    return await asyncio.to_thread(service.process.wait, seconds)


async def start_agentstream(service: ServiceProcess, name: str, sid: str) -> Caller:
    caller = await Caller.dial(service.url)
    await caller.say({"event": "connected"})
    await caller.say(
        {
            "event": "start",
            "stream_sid": sid,
            "start": {"call_sid": name, "account_sid": "tenant-abc", "stream_sid": sid},
        }
    )
    return caller


async def say_media(caller: Caller, chunk: int) -> None:
    payload = base64.b64encode(pcm(chunk)).decode()
    await caller.say({"event": "media", "media": {"chunk": str(chunk), "payload": payload}})


async def test_everything_received_is_acked_before_1012_and_the_call_continues_elsewhere(
    process: Any, broker: Broker, name: str
) -> None:
    one, two = process(), process()
    caller = await Caller.dial(one.url)
    await caller.start(name)
    await caller.speak(*range(57))
    await caller.hear_ack(9)
    terminate(one)
    assert await caller.closed() == 1012
    assert [r["seq"] for r in caller.replies if r["event"] == "ack"][-1] == 56
    assert await exit_status(one) == 0
    assert facts(broker, name)["state"] == "cut"
    again = await Caller.dial(two.url)
    assert (await again.start(name, resume=True))["last_seq"] == 56
    await again.speak(*range(57, 60))
    assert (await again.end())["published"] == 60
    assert audio(broker, name) == [(n, pcm(n)) for n in range(60)]
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_carrier_that_would_not_come_back_may_finish_its_call(
    process: Any, broker: Broker, name: str
) -> None:
    service = process(DRAIN_SECONDS="60")
    sid = f"{SID}1"
    carrier = await start_agentstream(service, name, sid)
    await say_media(carrier, 1)
    terminate(service)
    await until(service.is_draining)
    with pytest.raises(InvalidStatus) as refused:
        await Caller.dial(service.url)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]
    await say_media(carrier, 2)
    await carrier.say({"event": "stop", "stop": {"reason": "callended"}})
    assert await carrier.closed() == 1000
    assert carrier.replies == []
    assert await exit_status(service) == 0
    found = entries(broker, sid)
    assert [e["type"] for _, e in found] == ["started", "audio", "audio", "ended"]
    assert found[-1][1]["data"]["reason"] == "callended"


async def test_at_the_end_of_the_drain_a_carrier_is_ended_as_shutdown_and_closed_1012(
    process: Any, broker: Broker, name: str
) -> None:
    service = process(DRAIN_SECONDS="0.5")
    sid = f"{SID}2"
    carrier = await start_agentstream(service, name, sid)
    await say_media(carrier, 1)
    terminate(service)
    assert await carrier.closed() == 1012
    assert await exit_status(service) == 0
    found = entries(broker, sid)
    assert [e["type"] for _, e in found] == ["started", "audio", "ended"]
    assert found[-1][1]["data"]["reason"] == "shutdown"
    assert found[-1][1]["data"]["ledger"]["published"] == 1


async def test_a_connection_without_a_start_is_told_when_it_sends_one(
    process: Any, name: str
) -> None:
    service = process(DRAIN_SECONDS="60")
    early = await Caller.dial(service.url)
    terminate(service)
    await until(service.is_draining)
    await early.start(name, wait=False)
    assert await early.closed() == 1012
    assert early.replies == []
    assert await exit_status(service) == 0


async def test_a_signal_repeated_after_two_seconds_exits_at_once(process: Any, name: str) -> None:
    service = process(DRAIN_SECONDS="60")
    carrier = await start_agentstream(service, name, f"{SID}3")
    await say_media(carrier, 1)
    terminate(service)
    await asyncio.sleep(2.1)  # the rule itself: sooner, it would be the same request
    assert service.is_draining()
    began = time.monotonic()
    terminate(service)
    assert await exit_status(service, 5) != 0  # what was received may be lost: no clean drain
    assert time.monotonic() - began < 3
    with pytest.raises(ConnectionClosed):
        await carrier.hear()
    assert "Traceback" not in service.log.read_text()


async def test_draining_is_told_to_the_scraper(process: Any, name: str) -> None:
    service = process(DRAIN_SECONDS="60")
    carrier = await start_agentstream(service, name, f"{SID}4")
    terminate(service)
    await until(service.is_draining)

    def metrics() -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{service.port}/metrics", timeout=2
        ) as answer:
            return str(answer.read().decode())

    assert "ingest_draining 1.0" in await asyncio.to_thread(metrics)
    await carrier.say({"event": "stop"})
    assert await carrier.closed() == 1000
    assert await exit_status(service) == 0


async def test_a_drain_that_leaves_audio_unpublished_says_so_and_fails(
    process: Any, name: str
) -> None:
    valkey = EmbeddedValkey()
    valkey.start()
    try:
        service = process(REDIS_URL=valkey.url, DRAIN_SECONDS="0.2")
        carrier = await start_agentstream(service, name, f"{SID}5")
    finally:
        valkey.close()
    await say_media(carrier, 1)
    terminate(service)
    assert await exit_status(service, 9) == 70
    (line,) = lines_of(service.log, ["stopped with audio that is not published"])
    assert line["streams"] == 1
    assert line["first"] == [f"tenant-abc/{SID}5"]


async def test_handshakes_that_wait_for_a_broker_are_refused_when_the_drain_begins(
    process: Any,
) -> None:
    with BrokerLab() as lab:
        service = process(REDIS_URL=lab.url)
        lab.kill()
        await until(lambda: service.get("/health/ready")[0] == 503)
        dials = [asyncio.create_task(Caller.dial(service.url)) for _ in range(5)]
        for dial in dials:  # each has reached the service, or comes while it drains
            await asyncio.wait([dial], timeout=0.1)
        terminate(service)
        answers = await asyncio.gather(*dials, return_exceptions=True)
        assert [type(answer) for answer in answers] == [InvalidStatus] * 5
        assert {answer.response.status_code for answer in answers} == {503}  # type: ignore[union-attr]
        assert await exit_status(service) == 0


async def test_a_broker_that_is_away_and_comes_back_within_the_drain_costs_nothing(
    process: Any, name: str
) -> None:
    with BrokerLab() as lab:
        service = process(REDIS_URL=lab.url, DRAIN_SECONDS="30")
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(*range(50))
        await caller.hear_ack(49)
        carrier = await start_agentstream(service, name, f"{SID}-away")
        with lab.frozen():
            await caller.speak(*range(50, 80))
            for chunk in range(1, 51):
                await say_media(carrier, chunk)
            await carrier.say({"event": "stop", "stop": {"reason": "callended"}})
            carrier.reset()
            terminate(service)
            await until(service.is_draining)
            await asyncio.sleep(7)  # more than anything else may take: nothing else happens
        assert await caller.closed() == 1012
        assert max(r["seq"] for r in caller.replies if r["event"] == "ack") == 79
        assert await exit_status(service) == 0
        with lab.client() as broker:
            assert audio(broker, name) == [(n, pcm(n)) for n in range(80)]
            found = entries(broker, f"{SID}-away")
            assert [e["type"] for _, e in found] == ["started", *["audio"] * 50, "ended"]
            assert found[-1][1]["data"]["reason"] == "callended"
