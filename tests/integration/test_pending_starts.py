"""Starts that are sent while the broker does not answer, and what becomes of them."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from published import audio, entries, facts
from running import Caller, Service, ServiceProcess, pcm
from waiting import until, until_state

from domain.starting import LATE_MS


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


def kinds(lab: BrokerLab, name: str) -> list[str]:
    with lab.client() as broker:
        return [entry["type"] for _, entry in entries(broker, name)]


async def until_held(service: Service | ServiceProcess, frames: int) -> None:
    """Wait until a service holds so many frames of 320 bytes."""
    await until(lambda: service.metric("ingest_buffered_bytes") == frames * 320)


def started_on(start_service: Any, lab: BrokerLab, **variables: str) -> Service:
    service: Service = start_service(
        **{"REDIS_URL": lab.url, "RESUME_SECONDS": "0.5", "ACK_INTERVAL": "1", **variables}
    )
    return service


@pytest.mark.parametrize("says", ["start", "start and audio"])
async def test_a_second_socket_of_a_carrier_that_is_gone_at_once_leaves_no_run_open(
    start_service: Any, lab: BrokerLab, name: str, says: str
) -> None:
    service = started_on(start_service, lab)
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1, 2)
    with lab.client() as broker:
        await until(lambda: len(audio(broker, name)) == 2)
    with lab.frozen():
        await second.begin(name)
        if says != "start":
            await second.send_chunks(name, 3)
            await until_held(service, 1)
        second.reset()
        first.reset()
        await until(lambda: service.metric("ingest_streams", dialect="agentstream") == 0)
    with lab.client() as broker:
        await until_state(broker, name, "ended")
        assert [seq for seq, _ in audio(broker, name)] == ([1, 2] if says == "start" else [1, 2, 3])
    assert kinds(lab, name).count("ended") == 1


async def test_a_start_whose_sender_is_gone_when_it_is_answered_leaves_no_run_open(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab)
    caller = await Caller.dial(service.url)
    with lab.frozen():
        await caller.start(name, wait=False)
        await caller.speak(0, 1)
        await until_held(service, 2)
        caller.reset()
    with lab.client() as broker:
        await until_state(broker, name, "ended")
        assert entries(broker, name)[-1][1]["data"]["reason"] == "disconnected"
    assert kinds(lab, name).count("ended") == 1


async def test_of_two_starts_of_a_stream_the_later_holds_it_and_nothing_of_the_earlier_is_lost(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab)
    earlier, later = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    with lab.frozen():
        await earlier.begin(name)
        await earlier.send_chunks(name, 1, 2)
        await until_held(service, 2)
        await later.begin(name)
        await later.send_chunks(name, 3, 4)
        await until_held(service, 4)
    assert await earlier.closed() == 4409
    await later.send_chunks(name, 5)
    assert await later.stop(name) == 1000
    with lab.client() as broker:
        assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in range(1, 6)]
    assert kinds(lab, name).count("ended") == 1


async def test_a_start_that_was_on_its_way_for_long_takes_no_call_from_who_came_after_it(
    process: Any, lab: BrokerLab, name: str
) -> None:
    with ChaosProxy(lab.port) as proxy:
        cut_off = process(REDIS_URL=lab.url.replace(str(lab.port), str(proxy.address[1])))
        reached = process(REDIS_URL=lab.url)
        earlier, later = await Caller.dial(cut_off.url), await Caller.dial(reached.url)
        proxy.black_hole()
        await earlier.start(name, wait=False)
        await earlier.speak(0)
        await until_held(cut_off, 1)
        await asyncio.sleep(2 * LATE_MS / 1_000)  # who asks sooner is not taken as the later one
        assert (await later.start(name))["generation"] == 1
        await later.speak(*range(5))
        await later.hear_ack(4)
        proxy.heal()
        assert await earlier.closed() == 4409
        await later.speak(*range(5, 10))
        assert (await later.end())["published"] == 10
    with lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(10)]
    assert kinds(lab, name).count("ended") == 1


async def drain_after_a_start(
    service: ServiceProcess, lab: BrokerLab, name: str, *, frames: int
) -> AgentstreamSender:
    """Begin a call before a broker that does not answer, then have the service drain."""
    carrier = await AgentstreamSender.dial(service.url)
    lab.freeze()
    await carrier.begin(name)
    await carrier.send_chunks(name, *range(1, frames + 1))
    await until_held(service, frames)
    service.process.send_signal(signal.SIGTERM)
    return carrier


async def test_a_drain_waits_for_what_is_after_a_start(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url)
    carrier = await drain_after_a_start(service, lab, name, frames=10)
    carrier.reset()
    await until(service.is_draining)
    lab.thaw()
    assert await asyncio.to_thread(service.process.wait, 15) == 0
    with lab.client() as broker:
        assert [seq for seq, _ in audio(broker, name)] == list(range(1, 11))


async def test_a_drain_that_leaves_a_start_unpublished_says_so_and_fails(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url, DRAIN_SECONDS="0.2")
    await drain_after_a_start(service, lab, name, frames=1)
    assert await asyncio.to_thread(service.process.wait, 15) == 70
    assert '"streams": 1' in service.log.read_text()


async def test_a_call_that_starts_as_the_drain_ends_is_ended_as_shutdown(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url, DRAIN_SECONDS="0.2")
    carrier = await drain_after_a_start(service, lab, name, frames=1)
    assert await carrier.closed() == 1012
    lab.thaw()
    assert await asyncio.to_thread(service.process.wait, 15) == 0
    with lab.client() as broker:
        assert facts(broker, name)["state"] == "ended"
        assert entries(broker, name)[-1][1]["data"]["reason"] == "shutdown"


async def test_a_drain_waits_for_a_start_whose_sender_comes_back(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url)
    caller = await Caller.dial(service.url)
    lab.kill()
    await caller.start(name, wait=False)
    await caller.speak(*range(10))
    await until_held(service, 10)
    service.process.send_signal(signal.SIGTERM)
    await until(service.is_draining)
    lab.start()
    assert await caller.closed() == 1012
    assert caller.replies[0]["event"] == "started"
    assert max(reply["seq"] for reply in caller.replies if reply["event"] == "ack") == 9
    assert await asyncio.to_thread(service.process.wait, 15) == 0
    with lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(10)]
        assert facts(broker, name)["state"] == "cut"  # it is resumed elsewhere


async def test_a_drain_leaves_a_start_to_who_comes_back_when_it_is_over(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url, DRAIN_SECONDS="0.2")
    caller = await Caller.dial(service.url)
    with lab.frozen():
        await caller.start(name, wait=False)
        await caller.speak(0)
        await until_held(service, 1)
        service.process.send_signal(signal.SIGTERM)
        assert await caller.closed() == 1012
        assert await asyncio.to_thread(service.process.wait, 15) == 70
    assert caller.replies == []


async def test_a_sender_that_has_sent_all_is_told_so_also_by_a_service_that_drains(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = process(REDIS_URL=lab.url)
    started, starting = [await Caller.dial(service.url) for _ in range(2)]
    await started.start(name)
    await started.speak(0)
    await started.hear_ack(0)
    with lab.frozen():
        for caller, stream in ((started, name), (starting, f"{name}-starting")):
            if caller is starting:
                await caller.start(stream, wait=False)
            await caller.speak(1)
            await caller.say({"event": "end"})
        await until_held(service, 2)
        service.process.send_signal(signal.SIGTERM)
        await until(service.is_draining)
    for caller in (started, starting):
        await caller.hear("ended")
        assert await caller.closed() == 1000
    assert await asyncio.to_thread(service.process.wait, 15) == 0
