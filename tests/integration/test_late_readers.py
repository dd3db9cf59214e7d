"""Workers of both kits that come when the start of a call is trimmed, or in the middle of it."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from broker_lab import BrokerLab
from example_reader import REPOSITORY, ExampleReader
from group_workers import pending
from kit_reading import LEASE, reading
from running import Caller, Service
from waiting import until

from rtaa_reader import AsyncReader, Audio, Ended, Options
from rtaa_reader.async_reader import PAGE_NOTICES
from rtaa_reader.position import MAX_RUNS

pytestmark = pytest.mark.long(20)

Start = Callable[..., ExampleReader]


async def resumed_call(lab: BrokerLab, service: Service, name: str) -> None:
    """Speak 20 frames in two generations, and trim the `started` of both.

    A page of notices is between those of the generations.
    """
    first, second = [await Caller.dial(service.url) for _ in range(2)]
    await first.start(name)
    await first.speak(*range(10))
    await first.hear_ack(9)
    first.reset()
    with lab.client() as broker:
        for _ in range(PAGE_NOTICES):
            broker.xadd("rtaa:interactions", {"type": "ended"})
        await second.start(name, resume=True)
        await second.speak(*range(10, 20))
        await second.end()
        key: Any = f"rtaa:audio:{{tenant-abc/{name}}}"
        await until(lambda: broker.xlen(key) == 23)
        broker.xtrim(key, minid="2-12", approximate=False)


async def test_a_call_whose_starts_are_trimmed_is_read_under_the_name_of_its_run(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    await resumed_call(lab, its_service, name)
    async with reading(lab) as late:
        await until(lambda: late.of(Ended))
        await until(lambda: pending(lab) == 0)
    assert [seq for _, seq in late.seqs] == list(range(10, 20))
    (run,) = {it.run for it in late.events}
    assert run


async def test_a_call_whose_starts_are_trimmed_is_read_under_the_name_of_its_run_in_node(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    await resumed_call(lab, its_service, name)
    late = start_node("late")
    await until(lambda: late.of_type("ended"))
    await until(lambda: pending(lab) == 0)
    assert late.seqs(name) == list(range(10, 20))
    (run,) = {it["run"] for it in late.events if it["type"] != "open"}
    assert run


RATES = (8_000, 16_000)


async def half_read_call(lab: BrokerLab, service: Service, name: str) -> list[str]:
    """Speak two runs in two formats, and let a worker commit the first three frames.

    Return the names of the runs.
    """
    for rate in RATES:
        caller = await Caller.dial(service.url)
        await caller.start(name, sample_rate=rate)
        await caller.speak(*range(5))
        await caller.end()
    options = Options(lease_seconds=LEASE, autocommit=False)
    async with AsyncReader(lab.url, "asr", "first", options) as first:
        events = [await anext(first) for _ in range(14)]
        assert await first.commit(events[3])
    return list(dict.fromkeys(it.run for it in events))


async def test_who_continues_in_the_middle_of_a_run_has_the_format_of_that_run(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    runs = await half_read_call(lab, its_service, name)
    async with reading(lab) as late:
        await until(lambda: len(late.of(Ended)) == len(RATES))
    found = {(it.run, it.call.sample_rate) for it in late.events if isinstance(it, Audio)}
    assert found == set(zip(runs, RATES, strict=True))


FORMATS = """
import { Reader } from "./clients/node/src/index.js";
const reader = await Reader.join({ url: process.argv[1], group: "asr", lease: 2000 });
const found = new Set();
for await (const event of reader) {
  found.add(`${event.run} ${event.call.media.sample_rate}`);
  if (event.type === "ended" && event.call.media.sample_rate === 16_000) break;
}
console.log(JSON.stringify([...found]));
"""


async def test_who_continues_in_the_middle_of_a_run_has_the_format_of_that_run_in_node(
    lab: BrokerLab, its_service: Service, node_packages: None, name: str
) -> None:
    runs = await half_read_call(lab, its_service, name)
    command = ["node", "--input-type=module", "--eval", FORMATS, lab.url]
    more: Any = {"cwd": REPOSITORY, "capture_output": True, "text": True, "timeout": 30}
    done = await asyncio.to_thread(lambda: subprocess.run(command, check=True, **more))
    assert json.loads(done.stdout) == [f"{it} {rate}" for it, rate in zip(runs, RATES, strict=True)]


async def many_runs(service: Service, name: str) -> int:
    """Speak more runs of a stream than a position remembers; return how many."""
    for _ in range(MAX_RUNS + 4):
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(0)
        await caller.end()
    return MAX_RUNS + 4


async def test_a_stream_of_many_runs_is_done_with_when_all_are_read(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    count = await many_runs(its_service, name)
    async with reading(lab) as late:
        await until(lambda: len(late.of(Ended)) == count)
        await until(lambda: pending(lab) == 0)
        assert len(late.seqs) == count


async def test_a_stream_of_many_runs_is_done_with_when_all_are_read_in_node(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    count = await many_runs(its_service, name)
    late = start_node("late")
    await until(lambda: len(late.of_type("ended")) == count)
    await until(lambda: pending(lab) == 0)
    assert len(late.frames) == count


async def speak(service: Service, name: str) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(5))
    await caller.end()


async def two_calls(lab: BrokerLab, service: Service, name: str) -> None:
    """Speak two calls; the key of the first one's stream has another type then."""
    for call in (name, f"{name}-other"):
        await speak(service, call)
    with lab.client() as broker:
        broker.set(f"rtaa:audio:{{tenant-abc/{name}}}", "no stream")


async def test_a_key_of_another_type_concerns_its_stream_alone(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    await two_calls(lab, its_service, name)
    async with reading(lab) as late:
        await until(lambda: late.of(Ended))
        assert {it.stream for it in late.events} == {f"tenant-abc/{name}-other"}


async def test_a_key_of_another_type_concerns_its_stream_alone_in_node(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    await two_calls(lab, its_service, name)
    late = start_node("late")
    await until(lambda: late.of_type("ended"))
    await until(lambda: "WRONGTYPE" in late.errors.read_text())
    await speak(its_service, f"{name}-third")
    await until(lambda: len(late.of_type("ended")) == 2)
    assert late.errors.read_text().count("WRONGTYPE") == 1
