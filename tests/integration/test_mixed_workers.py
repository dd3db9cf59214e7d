"""A group of workers in two languages: the kits keep their leases and positions alike."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from example_reader import ExampleReader
from group_workers import INDEX, pending, until_workers_ask, until_workers_wait
from running import Service
from shared_calls import PacedCall, Sharing
from valkey_cluster import ValkeyCluster
from valkey_node import ValkeyNode
from valkey_sentinel import SentinelGroup
from waiting import until

pytestmark = pytest.mark.long(20)

INTERVAL_SECONDS = 0.04
"""From frame to frame of a call."""

LEASE_SECONDS = 1.5
TIMES = {"lease_ms": 1500, "settle_ms": 1500}
PROGRAM = Path(__file__).parents[1] / "support" / "readers" / "kit_lines.py"

Start = Callable[..., ExampleReader]


@pytest.fixture
def start_python(
    lab: BrokerLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ExampleReader]]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with ExitStack() as stack:

        def start(name: str, url: str = lab.url) -> ExampleReader:
            command = [sys.executable, str(PROGRAM), url, name, str(LEASE_SECONDS)]
            reader = ExampleReader(command, tmp_path, name)
            stack.callback(reader.kill)
            return reader

        yield start


async def test_each_byte_is_committed_once_at_one_owner_of_either_language(
    lab: BrokerLab, its_service: Service, start_node: Start, start_python: Start
) -> None:
    """Node.js takes over from Python that is killed, then Python from Node.js."""
    workers = {"python": start_python("python"), "node": start_node("node", **TIMES)}
    it = await shared_by(workers, its_service, lab)
    await asyncio.to_thread(lab.kill_and_restart)
    it.workers["python"].kill()
    await it.until_all_progress(10)
    assert {it.owner_of(call) for call in it.calls} == {"node"}

    it.workers["heir"] = start_python("heir")
    await until_workers_wait(lab, 3)
    await asyncio.to_thread(lab.come_back_empty)
    await it.until_all_progress(10)
    assert {it.owner_of(call) for call in it.calls} == {"node"}
    it.workers["node"].kill()
    await it.until_all_progress(10)
    assert {it.owner_of(call) for call in it.calls} == {"heir"}

    await end_and_judge(it, lab)


async def test_they_follow_sentinels_to_another_primary(
    sentinel_group: SentinelGroup, start_service: Any, start_node: Start, start_python: Start
) -> None:
    url, master = sentinel_group.url, sentinel_group.master
    service: Service = start_service(REDIS_URL=url, ACK_INTERVAL="1", REWIND_SECONDS="20")
    workers = {"python": start_python("python", url), "node": start_node("node", url, **TIMES)}
    it = await shared_by(workers, service, master)
    new = await asyncio.to_thread(sentinel_group.fail_over)
    await it.until_all_progress(10)
    await until_workers_ask(new, 2)
    await end_and_judge(it, new)


async def test_they_share_the_calls_of_a_cluster_of_which_a_primary_dies(
    cluster: ValkeyCluster, start_service: Any, start_node: Start, start_python: Start
) -> None:
    service: Service = start_service(REDIS_URL=cluster.url, ACK_INTERVAL="1", REWIND_SECONDS="20")
    url = cluster.url
    workers = {"python": start_python("python", url), "node": start_node("node", url, **TIMES)}
    it = await shared_by(workers, service, cluster.master_of(INDEX))
    slot = cluster.slot_of(INDEX)
    await asyncio.to_thread(cluster.master_of(slot).kill)
    new = await asyncio.to_thread(cluster.wait_for_failover, slot)
    await it.until_all_progress(10)
    await until_workers_ask(new, 2)
    await end_and_judge(it, new)


async def shared_by(
    workers: dict[str, ExampleReader], service: Service, server: BrokerLab | ValkeyNode
) -> Sharing:
    """Begin calls until each worker owns one."""
    it = Sharing()
    it.workers = workers
    await until_workers_wait(server, len(workers))
    while len(it.calls) < 3 or len({it.owner_of(call) for call in it.calls}) < len(workers):
        number = len(it.calls)
        it.calls.append(PacedCall(service.url, f"call-{number}", number, INTERVAL_SECONDS))
        await until(lambda: it.calls[-1].key in it.owned())
    await it.until_all_progress(10)
    return it


async def end_and_judge(it: Sharing, server: BrokerLab | ValkeyNode) -> None:
    """End all calls, and judge what the workers have printed."""
    await asyncio.gather(*(call.end() for call in it.calls))
    workers = [worker for worker in it.workers.values() if worker.process.poll() is None]
    await until(lambda: sum(len(worker.of_type("ended")) for worker in workers) == len(it.calls))
    await until(lambda: pending(server) == 0)
    for worker in workers:
        assert await asyncio.to_thread(worker.stop) == 0, worker.errors.read_text()
    for call in it.calls:
        it.judge(call)
