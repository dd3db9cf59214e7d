"""Workers of clients/node share calls, while they, their broker and the senders fail."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from broker_lab import BrokerLab
from example_reader import ExampleReader
from node_reader import install, node_worker
from running import Service
from shared_calls import PacedCall, Sharing
from waiting import until

INTERVAL_SECONDS = 0.04
"""From frame to frame of a call."""

Start = Callable[..., ExampleReader]


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    install()


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab(appendfsync="everysec") as lab:
        yield lab


@pytest.fixture
def its_service(lab: BrokerLab, start_service: Any) -> Service:
    service: Service = start_service(REDIS_URL=lab.url, ACK_INTERVAL="1", REWIND_SECONDS="20")
    return service


@pytest.fixture
def start_worker(lab: BrokerLab, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(node_worker(lab.url, tmp_path, name))


async def until_workers_wait(lab: BrokerLab, count: int) -> None:
    """Wait until so many workers ask for calls."""

    def workers() -> int:
        with lab.client() as broker:
            try:
                return len(broker.xinfo_consumers("rtaa:interactions", "asr"))
            except redis.ResponseError:  # there is no index yet
                return 0

    await until(lambda: workers() == count)


async def break_everything(
    lab: BrokerLab, service: Service, start_worker: Start, calls: int, interval: float
) -> Sharing:
    """Kill the broker twice and a worker, and empty the broker, while calls are cut and resumed."""
    it = Sharing()
    it.workers = {name: start_worker(name) for name in ("one", "two")}
    await until_workers_wait(lab, 2)
    sender = it.calls
    for number in range(calls):  # one by one: the workers that wait take turns
        sender.append(PacedCall(service.url, f"call-{number}", number, interval))
        await until(lambda: sender[-1].key in it.owned())
    await it.until_all_progress(10)
    first = {call.key: it.owner_of(call) for call in sender}
    assert set(first.values()) == {"one", "two"}

    await asyncio.to_thread(lab.kill_and_restart)
    await it.until_all_progress(10)
    for call in sender[::2]:
        call.cut()
    await it.until_all_progress(10)
    assert {call.key: it.owner_of(call) for call in sender} == first

    it.workers["one"].kill()
    it.workers["three"] = start_worker("three")
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
    await until(lambda: sum(len(w.of_type("ended")) for w in it.workers.values()) >= calls)
    for worker in (it.workers["two"], it.workers["three"]):
        assert await asyncio.to_thread(worker.stop) == 0
    return it


async def test_each_byte_is_committed_once_at_one_owner_whatever_dies(
    lab: BrokerLab, its_service: Service, start_worker: Start
) -> None:
    it = await break_everything(lab, its_service, start_worker, 6, INTERVAL_SECONDS)
    for call in it.calls:
        it.judge(call)
    moved = [key for key, turns in it.owned().items() if len(turns) > 1]
    assert all(it.owned()[key][0].worker == "one" for key in moved)
    with lab.client() as broker:
        assert broker.zcard("rtaa:reader:{asr}") == 0
        pending: Any = broker.xpending("rtaa:interactions", "asr")
        assert pending["pending"] == 0
