"""A cluster whose parts fail by themselves, under a whole service."""

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from published_calls import PublishedCall, PublishedCalls
from running import Caller
from valkey_cluster import ValkeyCluster
from valkey_node import NEVER_MS, ValkeyNode
from waiting import LIMIT_SECONDS, until

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.system_clock import SystemClock
from application.overview.call_overview import CallOverview
from application.overview.follower import Follower
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerUnavailable
from application.ports.store import Appended, Failed
from application.testing.appends import begin, following, frames, stream
from application.testing.observed import announced, attempt, expected, read, settle, store

INDEX, OPEN_RUNS = layout.index_key("rtaa"), layout.open_key("rtaa")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Three primaries without replicas: one that is away is not replaced."""
    with ValkeyCluster(node_timeout_ms=NEVER_MS) as it:
        yield it


@pytest.fixture
def healthy(cluster: ValkeyCluster) -> Iterator[ValkeyCluster]:
    yield cluster
    cluster.heal()


def spare_node(cluster: ValkeyCluster) -> ValkeyNode:
    """A primary that has no key that all calls need."""
    shared = {cluster.master_of(key).port for key in (INDEX, OPEN_RUNS)}
    return next(node for node in cluster.masters if node.port not in shared)


def name_at(
    cluster: ValkeyCluster, node: ValkeyNode, *, is_there: bool, tenant: str = "tenant-abc"
) -> str:
    names = (f"call-{number}" for number in count())
    return next(
        name
        for name in names
        if (cluster.master_of(f"rtaa:audio:{{{tenant}/{name}}}").port == node.port) is is_there
    )


async def test_health_and_readiness_name_the_part_that_is_away_while_its_calls_wait(
    healthy: ValkeyCluster, process: Any
) -> None:
    service = process(REDIS_URL=healthy.url)
    await until(lambda: json.loads(service.get("/health/ready")[1]).get("away") == [])
    health = json.loads(service.get("/health")[1])
    assert (health["status"], health["pubsub"], health["away"]) == ("healthy", True, [])
    node = spare_node(healthy)
    part = f"shard-{healthy.masters.index(node) + 1}"
    away, here = (name_at(healthy, node, is_there=it) for it in (True, False))
    waiting = await Caller.dial(service.url)
    await waiting.start(away)
    node.freeze()
    await until(lambda: json.loads(service.get("/health/ready")[1]) == {
        "ready": True, "reason": None, "away": [part],
    })  # fmt: skip
    assert service.get("/health/ready")[0] == 200
    health = json.loads(service.get("/health")[1])
    assert (health["status"], health["pubsub"], health["away"]) == ("degraded", True, [part])
    await until(lambda: service.metric("ingest_broker_part_up", part=part) == 0)
    assert service.metric("ingest_broker_part_up") == 2
    assert service.metric("ingest_broker_up") == 0
    assert service.metric("ingest_ready") == 1
    await waiting.speak(0, 1, 2)
    going = await Caller.dial(service.url)
    await going.start(here)
    await going.speak(0, 1, 2)
    await going.hear_ack(2)
    assert service.metric("ingest_buffered_bytes") > 0
    node.thaw()
    await waiting.hear_ack(2)
    await until(lambda: json.loads(service.get("/health")[1])["away"] == [])
    assert service.metric("ingest_broker_up") == 1
    assert service.metric("ingest_frames_total", outcome="lost") == 0
    for caller in (waiting, going):
        await caller.end()
    log = service.log.read_text()
    assert f'"part": "{part}", "error"' in log


async def test_without_a_part_that_all_calls_need_the_service_is_not_ready(
    healthy: ValkeyCluster, process: Any
) -> None:
    service = process(REDIS_URL=healthy.url)
    node = healthy.master_of(INDEX)
    node.freeze()
    await until(lambda: service.get("/health/ready")[0] == 503)
    told = json.loads(service.get("/health/ready")[1])
    assert told["reason"] == "the broker takes no writes"
    assert told["away"] == [f"shard-{healthy.masters.index(node) + 1}"]
    health = json.loads(service.get("/health")[1])
    assert (health["status"], health["pubsub"]) == ("degraded", False)
    node.thaw()
    await until(lambda: service.get("/health/ready")[0] == 200)


def test_the_schema_describes_what_is_away(healthy: ValkeyCluster, process: Any) -> None:
    schemas = process(REDIS_URL=healthy.url).get_json("/schema")["components"]["schemas"]
    for name in ("Health", "Readiness"):
        (described,) = schemas[name]["properties"]["away"]["oneOf"]
        assert described == {"type": "array", "items": {"type": "string"}}
        assert "away" not in schemas[name]["required"]


# Slots that move, under a store


async def test_streams_whose_slots_move_the_old_way_lose_nothing(healthy: ValkeyCluster) -> None:
    destination = RedisDestination(DestinationOptions(prefix="moving"), healthy.url)
    key = stream("moving")
    slot = healthy.slot_of(str(key))
    source = healthy.master_of(slot)
    target = next(node for node in healthy.masters if node is not source)
    try:
        appends = [begin(key, None)]
        await store(destination, *appends)
        target.ask("SCRIPT", "FLUSH")
        move = healthy.begin_move(slot, target)
        for number, step in enumerate((lambda: None, move.move_keys, move.finish)):
            step()
            appends.append(following(appends[-1].head, *frames(key, number * 10, 10)))
            await settle(destination, appends[-1:])
        assert await read(destination, key) == expected(*appends)
        assert len(await announced(destination, key)) == 1
    finally:
        await destination.close()
        healthy.heal()
    healthy.move_slot(slot, source)


async def test_of_a_half_moved_stream_an_append_fails_and_passes(healthy: ValkeyCluster) -> None:
    destination = RedisDestination(DestinationOptions(prefix="half"), healthy.url)
    key, other = stream("half"), stream("other")
    slot = healthy.slot_of(str(key))
    source = healthy.master_of(slot)
    target = next(node for node in healthy.masters if node is not source)
    try:
        append = begin(key, None)
        await store(destination, append)
        move = healthy.begin_move(slot, target)
        move.move_keys(layout.facts_key("half", key))
        later = following(append.head, *frames(key, 0, 10))
        failed, stored = await attempt(destination, [later, begin(other, None)])
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, BrokerUnavailable)
        assert stored == Appended()
        move.move_keys()
        move.finish()
        await settle(destination, [later])
        assert await read(destination, key) == expected(append, later)
    finally:
        await destination.close()
    healthy.move_slot(slot, source)


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_node_one_of_whose_slots_is_on_its_way_takes_writes(
    healthy: ValkeyCluster, is_shared: bool
) -> None:
    destination = RedisDestination(DestinationOptions(prefix="mark"), healthy.url)
    index = layout.index_key("mark")
    try:
        await destination.verify_writable()
        part = destination._link.part_of(index)
        marks: list[str] = []
        await destination._link.run_marked(part, lambda mark: [marks.append(mark) or ("PING",)])  # type: ignore[func-returns-value]
        (mark,) = marks
        slot = healthy.slot_of(index if is_shared else mark)
        source = healthy.master_of(slot)
        source.ask("DEL", *layout.probe_keys("mark", mark))
        target = next(node for node in healthy.masters if node is not source)
        move = healthy.begin_move(slot, target)
        await destination.verify_part(part)
        move.finish()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await takes_writes(destination):
                await asyncio.sleep(0.05)
    finally:
        await destination.close()
    healthy.move_slot(slot, source)


async def takes_writes(destination: RedisDestination) -> bool:
    try:
        await destination.verify_writable()
    except BrokerUnavailable:
        return False
    return True


async def test_a_view_looks_at_the_calls_of_the_parts_that_answer_while_one_is_frozen(
    healthy: ValkeyCluster,
) -> None:
    node = spare_node(healthy)
    frozen, answering = (
        PublishedCall(name_at(healthy, node, is_there=it, tenant="seen"), "seen")
        for it in (True, False)
    )
    writing, reading = (RedisDestination(DestinationOptions(), healthy.url) for _ in range(2))
    await PublishedCalls(writing).start([frozen])
    await PublishedCalls(writing).start([answering])
    clock, overview = SystemClock(), CallOverview()
    follower = Follower(reading.reader, clock, overview, 600)
    follower.shown["view"] = [frozen.key, answering.key]
    task = asyncio.create_task(follower.run())
    await until(lambda: overview.has_index and overview.is_seen)
    node.freeze()
    began = clock.monotonic()
    while not (call := overview.call(frozen.key)) or not call.is_unread:
        await asyncio.sleep(0.1)
        assert clock.monotonic() - began < LIMIT_SECONDS
        other = overview.call(answering.key)
        assert other is not None
        assert other.looked_at is not None
        assert clock.monotonic() - other.looked_at < 3
        assert overview.away_seconds(clock.instant()) is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    healthy.heal()
    for destination in (writing, reading):
        await destination.close()
