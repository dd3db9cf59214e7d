"""The forwarder of docs/kafka.md while Kafka is frozen, away, small or refuses: nothing is skipped.

The emulator is librdkafka's mock cluster, as in test_forward_to_kafka.py.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from kafka_forwarder import (
    Start,
    call,
    ends,
    forwarders,
    frames,
    of,
    plain,
    service_to_forward,
    stream,
    without_repeats,
)
from mock_kafka import MockKafka
from running import Caller, Service
from speaking import speaking
from waiting import until

pytestmark = pytest.mark.long(30)


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with MockKafka() as kafka:
        yield kafka


@pytest.fixture
def its_service(lab: BrokerLab, start_service: Callable[..., Service]) -> Service:
    return service_to_forward(lab, start_service)


@pytest.fixture
def start(lab: BrokerLab, kafka: MockKafka, tmp_path: Path) -> Iterator[Start]:
    with forwarders(lab, kafka, tmp_path) as start:
        yield start


async def test_a_frozen_kafka_is_waited_for_told_and_given_everything(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    forwarder = start(socket_timeout_ms=1000)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(of(kafka, name)) > 50)
        kafka.freeze()
        await until(lambda: "kafka: " in forwarder.told)
        before = len(sent)
        await until(lambda: len(sent) > before + 50)
        kafka.thaw()
        await until(lambda: len(of(kafka, name)) > before + 50)
    await caller.end()
    await until(lambda: ends(kafka, name))
    assert plain(without_repeats(of(kafka, name))) == stream(lab, name)
    assert forwarder.process.poll() is None


async def test_what_kafka_has_not_confirmed_is_not_taken_for_forwarded(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    forwarder = start()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(of(kafka, name)) > 50)
        kafka.freeze()
        before = len(sent)
        await until(lambda: len(sent) > before + 200)  # positions are saved once a second
        forwarder.kill()
        kafka.thaw()
        start()
    await caller.end()
    await until(lambda: ends(kafka, name))
    assert plain(without_repeats(of(kafka, name))) == stream(lab, name)


async def test_a_kafka_that_holds_less_than_a_call_costs_no_record_and_no_memory(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    await call(its_service, name, *range(2000))
    forwarder = start(queue_buffering_max_messages=10, linger_ms=0)
    await until(lambda: ends(kafka, name))
    assert plain(of(kafka, name)) == stream(lab, name)
    assert forwarder.told == ""


async def test_a_kafka_that_is_away_at_the_start_is_waited_for(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    host, port = kafka.servers.split(",")[0].split(":")
    with ChaosProxy(int(port), host) as proxy:
        proxy.refuse()
        forwarder = start(bootstrap_servers=f"127.0.0.1:{proxy.port}")
        await call(its_service, name, *range(10))
        await until(lambda: "Connection refused" in forwarder.told)
        proxy.heal()
        await until(lambda: ends(kafka, name))
    assert plain(of(kafka, name)) == stream(lab, name)


async def test_a_record_that_is_refused_stops_the_forwarder_which_skips_nothing(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.speak(1, size=40_000)
    await caller.speak(2)
    await caller.end()
    forwarder = start(message_max_bytes=20_000)
    assert await asyncio.to_thread(forwarder.process.wait, 30) == 1
    assert "nothing is skipped" in forwarder.told
    assert [seq for seq, _ in frames(of(kafka, name))] in ([], [0])
    start()
    await until(lambda: ends(kafka, name))
    assert plain(without_repeats(of(kafka, name))) == stream(lab, name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_forwarder_without_either_broker_ends_on_a_signal(
    lab: BrokerLab, kafka: MockKafka, start: Start, number: signal.Signals
) -> None:
    forwarder = start(url="redis://127.0.0.1:9/0", bootstrap_servers="127.0.0.1:9")
    await until(lambda: "redis: " in forwarder.told and "kafka: " in forwarder.told)
    forwarder.process.send_signal(number)
    assert await asyncio.to_thread(forwarder.process.wait, 30) == 0
