"""The forwarder of docs/kafka.md, over a real broker and an emulated Kafka: at least once.

The emulator is librdkafka's mock cluster. The tests show what the forwarder does, and nothing of
what Apache Kafka fences, refuses or keeps.
"""

import asyncio
import importlib
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from kafka_forwarder import (
    DOCS,
    REPOSITORY,
    Start,
    call,
    ends,
    forwarders,
    frames,
    key_of,
    of,
    plain,
    service_to_forward,
    stream,
    without_repeats,
)
from mock_kafka import TOPIC, MockKafka, Record
from published import index
from running import Caller, Service, pcm
from speaking import speaking
from waiting import until

pytestmark = pytest.mark.long(50)

MAX_LINES = 180
"""The example is to be read in one sitting: it stays below."""


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


def has_repeats(records: list[Record]) -> bool:
    places = [tuple(map(int, record.entry.split("-"))) for record in records]
    return any(after <= before for before, after in pairwise(places))


async def until_saved(lab: BrokerLab) -> None:
    """Wait until the group has nothing left to do."""
    with lab.client() as broker:
        await until(lambda: broker.xpending("rtaa:interactions", "kafka")["pending"] == 0)


async def test_each_entry_of_each_call_is_one_record_in_order_in_one_partition(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    start()
    names = [f"{name}-{n}" for n in range(6)]
    for each in names:
        await call(its_service, each, *range(4), *range(6, 30))
    for each in names:
        await until(lambda each=each: ends(kafka, each))  # type: ignore[misc]
        records = of(kafka, each)
        assert plain(records) == stream(lab, each)
        assert len({record.partition for record in records}) == 1
        seqs = [*range(4), *range(6, 30)]
        assert frames(records) == [(seq, pcm(seq)) for seq in seqs]
    assert len({record.partition for record in kafka.records()}) > 1


async def test_the_headers_of_a_record_say_what_it_is(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    forwarder = start()
    sender = await AgentstreamSender.dial(its_service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    await sender.say({"event": "dtmf", "stream_sid": name, "dtmf": {"digit": "5"}})
    await sender.stop(name)
    await until(lambda: ends(kafka, name))
    started, audio, dtmf, ended = [it for it in kafka.records() if it.headers["stream"] == name]
    facts = json.loads(started.value)
    assert audio.headers == {
        "tenant": facts["tenant_id"],
        "stream": name,
        "interaction": facts["interaction_id"],
        "run": facts["run"],
        "type": "audio",
        "generation": "1",
        "position": "1",
        "seq": "1",
        "received_at_ms": audio.headers["received_at_ms"],
    }
    assert int(audio.headers["received_at_ms"]) > 0
    assert json.loads(dtmf.value) == {"digit": "5"}
    assert json.loads(ended.value)["reason"] == "callended"
    assert forwarder.told == ""


async def test_the_rights_that_the_docs_name_are_enough(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    (rights,) = re.findall(r"needs `~rtaa:\*` and `([^`]*)`", DOCS.read_text())
    with lab.client() as broker:
        broker.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", "kafka", "on", ">word", "~rtaa:*", "-@all", *rights.split()
        )
    forwarder = start(url=lab.url.replace("://", "://kafka:word@"))
    await call(its_service, f"{name}-before", *range(5))
    await until(lambda: ends(kafka, f"{name}-before"))
    with lab.client() as broker:
        broker.xdel(key_of(f"{name}-before"), "1-3")
        broker.delete("rtaa:forwarded:kafka:{tenant-abc/" + f"{name}-before}}")
        lost: Any = broker.xrange("rtaa:interactions", count=1)
        broker.xadd("rtaa:interactions", lost[0][1])  # it is read again, with a hole
    await until(lambda: "missing" in forwarder.told)
    await until_saved(lab)
    assert "redis: " not in forwarder.told


async def test_a_forwarder_that_is_killed_and_starts_again_skips_nothing_and_only_repeats(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    forwarder = start()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        for kills in range(1, 4):
            await until(lambda kills=kills: len(of(kafka, name)) > 100 * kills)  # type: ignore[misc]
            forwarder.kill()
            forwarder = start()
    await caller.end()
    await until(lambda: ends(kafka, name))
    records = of(kafka, name)
    assert has_repeats(records)
    assert plain(without_repeats(records)) == stream(lab, name)
    assert frames(without_repeats(records)) == [(seq, pcm(seq)) for seq in sent]


async def test_a_forwarder_that_stops_on_sigterm_continues_after_what_it_has_forwarded(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    forwarder = start()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller):
        await until(lambda: len(of(kafka, name)) > 50)
        forwarder.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(forwarder.process.wait, 30) == 0
        again = start()
    await caller.end()
    await until(lambda: ends(kafka, name))
    assert plain(of(kafka, name)) == stream(lab, name)
    assert again.told == ""


async def test_two_forwarders_share_the_calls_and_keep_the_order_of_each_over_resumptions(
    lab: BrokerLab, start_service: Any, kafka: MockKafka, start: Start, name: str
) -> None:
    service = start_service(REDIS_URL=lab.url, ACK_INTERVAL="1", DRAIN_SECONDS="1")
    forwarders = [start("one"), start("two")]
    names: list[str] = []

    def owners() -> set[str]:
        with lab.client() as broker:
            pending: Any = broker.xpending_range("rtaa:interactions", "kafka", "-", "+", 100)
            return {it["consumer"].decode() for it in pending}

    async def say(name: str, first: int) -> Caller:
        caller = await Caller.dial(service.url)
        await caller.start(name, resume=True)
        await caller.speak(*range(first, first + 10))
        await caller.hear_ack(first + 9)
        return caller

    while not names or owners() != {"one", "two"}:
        names.append(f"{name}-{len(names)}")
        (await say(names[-1], 0)).reset()
        await until(lambda: len(of(kafka, names[-1])) >= 11)
        assert len(names) < 50
    for first in (10, 20):
        for each in names:
            (await say(each, first)).reset()
    for each in names:
        await (await say(each, 30)).end()
    for each in names:
        await until(lambda each=each: ends(kafka, each))  # type: ignore[misc]
        assert plain(of(kafka, each)) == stream(lab, each)
    for forwarder in forwarders:
        assert forwarder.process.poll() is None
        assert forwarder.told == ""


async def test_the_calls_of_a_dead_forwarder_are_taken_by_another(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    dying = start("one")
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller):
        await until(lambda: len(of(kafka, name)) > 50)
        start("two")
        dying.kill()
        before = len(of(kafka, name))
        await until(lambda: len(of(kafka, name)) > before + 50, 60)
    await caller.end()
    await until(lambda: ends(kafka, name))
    assert plain(without_repeats(of(kafka, name))) == stream(lab, name)


INDEX = "rtaa:interactions"


def announce(broker: Any, name: str) -> None:
    """Begin a call, as the service does."""
    names = {"tenant_id": "tenant-abc", "interaction_id": name, "stream_id": name}
    entry = {"generation": 1, "run": name, "resumed": 0, "entry": "1-0"}
    broker.xadd(key_of(name), {"type": "started", "data": json.dumps({"run": name})}, id="1-0")
    broker.xadd(INDEX, {"type": "started", "key": key_of(name), **names, **entry})


async def test_the_calls_of_a_dead_forwarder_are_taken_however_many_are_live(
    lab: BrokerLab, kafka: MockKafka, start: Start, name: str
) -> None:
    with lab.client() as broker:
        broker.xgroup_create(INDEX, "kafka", id="0", mkstream=True)
        with broker.pipeline(transaction=False) as calls:
            for number in range(1_101):
                announce(calls, f"{name}-{number}")
            calls.execute()
        broker.xreadgroup("kafka", "one", {INDEX: ">"}, count=1_100)
        broker.xreadgroup("kafka", "dead", {INDEX: ">"})
        found: Any = broker.xinfo_stream(INDEX)
        broker.xclaim(INDEX, "kafka", "dead", 0, [found["last-generated-id"]], idle=60_000)
    start("one")
    await until(lambda: of(kafka, f"{name}-1100"))


def test_a_notice_that_is_trimmed_is_taken_from_a_dead_forwarder_on_redis_6() -> None:
    """From Redis 7 on XCLAIM leaves it out, and has it no longer pending."""
    sys.path.insert(0, str(REPOSITORY / "examples"))
    module: Any = importlib.import_module("forward_to_kafka")
    sys.path.pop(0)
    broker = Mock()
    broker.xpending_range.return_value = [
        {"message_id": b"1-0", "consumer": b"dead", "time_since_delivered": 60_000}
    ]
    broker.xautoclaim.return_value = (b"0-0", [(None, None)])
    broker.xclaim.return_value = [b"1-0"]
    broker.xrange.return_value = []
    forwarder = module.Forwarder("", "kafka", "one", {}, TOPIC)
    forwarder.renew(broker)
    broker.xack.assert_called_once_with(INDEX, "kafka", b"1-0")
    assert forwarder.runs == {}


async def test_a_forwarder_that_was_frozen_leaves_its_call_to_the_one_that_took_it(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    frozen = start("one")
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller):
        await until(lambda: len(of(kafka, name)) > 50)
        start("two")
        frozen.process.send_signal(signal.SIGSTOP)
        before = len(of(kafka, name))
        await until(lambda: len(of(kafka, name)) > before + 50, 60)
        frozen.process.send_signal(signal.SIGCONT)
        before = len(of(kafka, name))
        await until(lambda: len(of(kafka, name)) > before + 300)
    await caller.end()
    await until(lambda: ends(kafka, name))
    records = of(kafka, name)
    assert plain(without_repeats(records)) == stream(lab, name)
    assert not has_repeats(records[-100:])


def come_back_younger(lab: BrokerLab) -> None:
    assert lab.come_back_younger() > 0


FAULTS: dict[str, Callable[[BrokerLab], None]] = {
    "killed": BrokerLab.kill_and_restart,
    "younger": come_back_younger,
    "wiped": BrokerLab.come_back_empty,
    "flushed": BrokerLab.forget_all_keys,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_broker_loses_each_frame_is_forwarded(
    lab: BrokerLab,
    its_service: Service,
    kafka: MockKafka,
    start: Start,
    name: str,
    fault: str,
) -> None:
    forwarder = start()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(of(kafka, name)) > 100)
        await asyncio.to_thread(FAULTS[fault], lab)
        await until(lambda: its_service.get("/health/ready")[0] == 200)
        before = len(sent)
        await until(lambda: len(sent) > before + 50)
    ledger = await caller.end()
    assert ledger["lost"] == 0
    await until(lambda: ends(kafka, name))
    records = without_repeats(of(kafka, name))
    assert frames(records) == [(seq, pcm(seq)) for seq in sent]
    assert set(stream(lab, name)) <= set(plain(of(kafka, name)))
    assert "redis: " in forwarder.told
    assert "positions" not in forwarder.told


async def test_a_call_is_found_again_when_broker_and_forwarder_are_lost_together(
    lab: BrokerLab, start_service: Any, kafka: MockKafka, start: Start, name: str
) -> None:
    """The notice of its start is older than what a service announces again."""
    service: Service = start_service(REDIS_URL=lab.url, REWIND_SECONDS="1", DRAIN_SECONDS="1")
    forwarder = start()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(of(kafka, name)) > 300)
        forwarder.kill()
        await asyncio.to_thread(lab.come_back_empty)
        start()
        await until(lambda: service.get("/health/ready")[0] == 200)
        before = len(sent)
        await until(lambda: len(sent) > before + 50)
    await caller.end()
    await until(lambda: ends(kafka, name))
    with lab.client() as broker:
        assert {notice["generation"] for notice in index(broker, name)} == {"2"}
    assert set(stream(lab, name)) <= set(plain(of(kafka, name)))


async def test_ids_that_a_younger_broker_reuses_for_other_entries_are_read_again(
    lab: BrokerLab, kafka: MockKafka, start: Start, name: str
) -> None:
    """The process that wrote them first has died with it: the sender resumes at another one."""
    start()

    def write(generation: int, positions: range, audio: int) -> None:
        with lab.client() as broker:
            for position in positions:
                fields: dict[Any, Any] = {"type": "audio", "seq": position, "audio": pcm(audio)}
                if position == positions[0]:
                    fields = {"type": "started", "data": json.dumps({"run": "run"})}
                broker.xadd(key_of(name), fields, id=f"{generation}-{position}")

    write(1, range(6), 1)
    with lab.client() as broker:
        names: dict[Any, Any] = {
            "tenant_id": "tenant-abc",
            "interaction_id": name,
            "stream_id": name,
        }
        entry: dict[Any, Any] = {"generation": 1, "run": "run", "resumed": 0, "entry": "1-0"}
        broker.xadd("rtaa:interactions", {"type": "started", "key": key_of(name), **names, **entry})
        await until(lambda: broker.exists(f"rtaa:forwarded:kafka:{{tenant-abc/{name}}}"))
    lab.until_written()
    kept, files = lab.data / "kept", lab.data / "appendonlydir"
    shutil.copytree(files, kept)
    write(2, range(6, 12), 2)
    await until(lambda: len(of(kafka, name)) == 12)
    lab.kill()
    shutil.rmtree(files)
    kept.rename(files)
    lab.start()
    write(2, range(6, 18), 3)
    await until(lambda: set(stream(lab, name)) <= set(plain(of(kafka, name))))


async def test_another_run_that_begins_in_the_place_of_an_expired_one_is_forwarded(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    start()
    await call(its_service, name, *range(5))
    await until(lambda: ends(kafka, name))
    before = len(of(kafka, name))
    await until_saved(lab)
    with lab.client() as broker:
        broker.delete(key_of(name), f"rtaa:interaction:{{tenant-abc/{name}}}")
    await call(its_service, name, *range(10))
    await until(lambda: frames(of(kafka, name)[before:]) == [(seq, pcm(seq)) for seq in range(10)])


async def test_a_hole_is_told_with_its_cause(
    lab: BrokerLab, its_service: Service, kafka: MockKafka, start: Start, name: str
) -> None:
    await call(its_service, f"{name}-lost", *range(10))
    await call(its_service, f"{name}-trimmed", *range(10))
    with lab.client() as broker:
        broker.xdel(key_of(f"{name}-lost"), "1-3", "1-4")
        broker.xtrim(key_of(f"{name}-trimmed"), minid="1-6", approximate=False)
        broker.hset(f"rtaa:interaction:{{tenant-abc/{name}-trimmed}}", "trimmed", 6)
    forwarder = start()
    await until(lambda: ends(kafka, f"{name}-lost") and ends(kafka, f"{name}-trimmed"))
    assert sorted(forwarder.told.splitlines()) == [
        f"{key_of(f'{name}-lost')}: positions 3 to 4 of the stream are missing",
        f"{key_of(f'{name}-trimmed')}: positions 0 to 5 of the stream are trimmed: too slow",
    ]


def test_the_forwarder_is_short_and_needs_two_clients_alone() -> None:
    text = (REPOSITORY / "examples" / "forward_to_kafka.py").read_text()
    assert len(text.splitlines()) < MAX_LINES
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"redis", "confluent_kafka"}
