"""Workers of clients/node share calls, while they, their broker and the senders fail."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from example_reader import ExampleReader
from group_workers import pending, until_workers_wait
from node_reader import CLIENT, node_worker
from published import index
from running import Caller, Service
from shared_calls import PacedCall, Sharing
from waiting import freeze_process, until

INTERVAL_SECONDS = 0.04
"""From frame to frame of a call."""

Start = Callable[..., ExampleReader]

pytestmark = [pytest.mark.long(30), pytest.mark.usefixtures("node_packages")]


async def break_everything(
    lab: BrokerLab, service: Service, start_node: Start, calls: int, interval: float
) -> Sharing:
    """Kill the broker twice and a worker, and empty the broker, while calls are cut and resumed."""
    it = Sharing()
    it.workers = {name: start_node(name) for name in ("one", "two")}
    await until_workers_wait(lab, 2)
    sender = it.calls
    while len(sender) < calls or len({it.owner_of(call) for call in sender}) < 2:
        number = len(sender)
        sender.append(PacedCall(service.url, f"call-{number}", number, interval))
        await until(lambda: sender[-1].key in it.owned())
    await it.until_all_progress(10)
    first = {call.key: it.owner_of(call) for call in sender}

    await asyncio.to_thread(lab.kill_and_restart)
    await it.until_all_progress(10)
    for call in sender[::2]:
        call.cut()
    await it.until_all_progress(10)
    assert {call.key: it.owner_of(call) for call in sender} == first

    it.workers["one"].kill()
    it.workers["three"] = start_node("three")
    await it.until_all_progress(10)
    second = {call.key: it.owner_of(call) for call in sender}
    assert all(second[key] == "two" for key, owner in first.items() if owner == "two")
    assert "one" not in second.values()

    await asyncio.to_thread(lab.kill_and_restart)
    await it.until_all_progress(10)
    await asyncio.to_thread(lab.come_back_empty)
    await it.until_all_progress(10)
    for call in sender[1::2]:
        call.cut()
    await it.until_all_progress(10)
    assert {call.key: it.owner_of(call) for call in sender} == second
    await asyncio.gather(*(call.end() for call in sender))
    await until(lambda: sum(len(w.of_type("ended")) for w in it.workers.values()) >= len(sender))
    await until(lambda: pending(lab) == 0)
    for worker in (it.workers["two"], it.workers["three"]):
        assert await asyncio.to_thread(worker.stop) == 0
    return it


async def test_each_byte_is_committed_once_at_one_owner_whatever_dies(
    lab: BrokerLab, its_service: Service, start_node: Start
) -> None:
    it = await break_everything(lab, its_service, start_node, 6, INTERVAL_SECONDS)
    for call in it.calls:
        it.judge(call)
    moved = [key for key, turns in it.owned().items() if len(turns) > 1]
    assert all(it.owned()[key][0].worker == "one" for key in moved)


async def test_a_call_stays_with_an_owner_that_is_the_last_to_find_the_broker_again(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    it = Sharing()
    it.workers["one"] = start_node("one", settle_ms=500, lease_ms=20000)
    it.workers["two"] = start_node("two", settle_ms=6000, lease_ms=20000)
    call = PacedCall(its_service.url, name, 1, INTERVAL_SECONDS)
    it.calls.append(call)
    await until(lambda: call.key in it.owned())
    await it.until_all_progress(10)
    freeze_process(it.workers["one"].process.pid)
    await asyncio.to_thread(lab.come_back_empty)
    with lab.client() as broker:
        await until(lambda: index(broker, name))  # it is announced, and its owner does not know
    frames = call.frames
    await until(lambda: call.frames > frames + 25)
    it.workers["one"].process.send_signal(signal.SIGCONT)
    await it.until_all_progress(10)
    await until_workers_wait(lab, 2)  # both have looked at the notice
    await call.end()
    await until(lambda: it.workers["one"].of_type("ended"))
    it.judge(call)
    assert len(it.owned()[call.key]) == 1


async def test_a_call_stays_with_its_owner_if_the_broker_is_emptied_while_another_asks_for_it(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    """The other one has looked whether the broker was emptied, and it had not been."""
    it = Sharing()
    it.workers["one"] = start_node("one")
    call = PacedCall(its_service.url, name, 1, INTERVAL_SECONDS)
    it.calls.append(call)
    await until(lambda: call.key in it.owned())
    with ChaosProxy(lab.port) as proxy, lab.client() as client:
        broker: Any = client
        lease = f"rtaa:reader:asr:{{tenant-abc/{name}}}"
        proxy.hold(b"EVALSHA")
        it.workers["two"] = start_node("two", lab.url.replace(str(lab.port), str(proxy.port)))
        await until_workers_wait(lab, 2)
        while not proxy.is_holding:  # until it is the one that is told, and claims the call in vain
            call.cut()
            await it.until_all_progress(10)
        freeze_process(it.workers["one"].process.pid)
        lab.forget_all_keys()
        proxy.hold(b"EVALSHA")
        await until(lambda: broker.hget(lease, "worker") == b"two")
        it.workers["one"].process.send_signal(signal.SIGCONT)
        await until(lambda: proxy.is_holding and broker.exists("rtaa:reader:asr"))
        proxy.heal()
        await it.until_all_progress(10)
        await call.end()
        await until(lambda: it.workers["one"].of_type("ended"))
        for worker in it.workers.values():
            assert await asyncio.to_thread(worker.stop) == 0
    it.judge(call)
    assert [turn.worker for turn in it.owned()[call.key]] == ["one"]


async def test_an_owner_that_finds_the_lease_of_another_on_an_emptied_broker_waits_for_its_end(
    lab: BrokerLab, process: Any, start_node: Start, name: str
) -> None:
    """No notice tells it that the broker was emptied: the service is gone."""
    worker = start_node("one", lease_ms=2000, settle_ms=4000)
    dying = process(REDIS_URL=lab.url)
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(5))
    await until(lambda: worker.seqs(name) == [0, 1, 2, 3, 4])
    dying.kill()
    lease = f"rtaa:reader:asr:{{tenant-abc/{name}}}"
    with lab.client() as client:
        broker: Any = client
        theirs = {"owner": "another", "worker": "two", "fence": 1, "position": ""}
        with broker.pipeline() as together:
            together.flushall()
            together.hset(lease, mapping={**theirs, "until": broker.time()[0] * 1000 + 2000})
            together.execute()
        await until(lambda: broker.hget(lease, "worker") == b"one")
        assert broker.hget(lease, "position") != b""


async def test_a_call_that_had_ended_when_the_broker_came_back_empty_is_not_read_again(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    worker = start_node("one")
    before, after = f"{name}-before", f"{name}-after"
    caller = await Caller.dial(its_service.url)
    await caller.start(before)
    await caller.speak(*range(20))
    await caller.end()
    await until(lambda: worker.of_type("ended"))
    lease = f"rtaa:reader:asr:{{tenant-abc/{before}}}"
    with lab.client() as broker:
        await until(lambda: broker.hget(lease, "until") == b"0")
    await asyncio.to_thread(lab.come_back_empty)
    with lab.client() as broker:
        await until(lambda: len(index(broker, before)) == 2)
    caller = await Caller.dial(its_service.url)
    await caller.start(after)
    await caller.end()
    await until(lambda: len(worker.of_type("ended")) == 2)
    assert worker.seqs(before) == list(range(20))
    assert len(worker.of_type("started")) == 2


async def test_a_worker_needs_no_more_than_the_rights_of_the_readme(
    lab: BrokerLab, its_service: Service, tmp_path: Path, name: str
) -> None:
    rule = (CLIENT / "README.md").read_text().split("<!-- the-rule -->\n```\n")[1].split("\n")[0]
    with lab.client() as broker:
        execute: Any = broker.execute_command
        execute(
            "ACL", "SETUSER", "reader", "on", ">secret", "resetkeys", "~rtaa:*", "-@all",
            *rule.split(),
        )  # fmt: skip
    url = lab.url.replace("redis://", "redis://reader:secret@")
    with node_worker(url, tmp_path, "one") as worker:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(5))
        await caller.end()
        await until(lambda: worker.of_type("ended") and pending(lab) == 0)
        assert worker.stop() == 0
        assert worker.errors.read_text() == ""
