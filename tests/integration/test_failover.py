"""Calls in real time through failovers: what was acked is at the primary of afterwards."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from audit import AuditedStream, audit_clean
from commands import OPEN, run
from published import audio
from running import ServiceProcess, service_process
from steady_calls import ExostreamkitCall, SteadyCall, steady_calls
from valkey_cluster import ValkeyCluster
from valkey_node import ValkeyNode
from valkey_sentinel import SentinelGroup
from waiting import wait_until

pytestmark = pytest.mark.long(40)

BROKER = {"PUBSUB_ADAPTER": "redis_streams", "SUPPORT_EXOTEL": "true", "ACK_INTERVAL": "1"}

CALL = "rtaa:audio:{tenant-abc/call}"

BEFORE_SECONDS = 1.0
"""How long calls speak before and after what happens to them."""


async def spoken_through(
    service: ServiceProcess, name: str, happening: Callable[[], object]
) -> list[SteadyCall]:
    """Let calls speak while something happens, until all that they sent then is acked."""
    async with steady_calls(service.url, name) as calls:
        acked = calls[0]
        await acked.hear_ack(round(BEFORE_SECONDS * 50))
        await asyncio.to_thread(happening)
        await acked.hear_ack(acked.frames + round(BEFORE_SECONDS * 50))
    return list(calls)


def assert_whole(stream: AuditedStream, call: SteadyCall) -> None:
    """Every frame of a call is there, in one run that has ended. The audit has seen the order."""
    (published,) = stream.runs
    assert published.seqs == tuple(range(call.first_seq, call.first_seq + call.frames))
    assert published.ended is not None
    ledger = published.ended["ledger"]
    assert (ledger["missing"], ledger["lost"]) == (0, 0)


def judge(group: SentinelGroup | ValkeyCluster, calls: list[SteadyCall]) -> None:
    found = audit_clean(group.masters)
    for call in calls:
        (name,) = (it for it in found if it.endswith(f"/{call.name}"))
        assert_whole(found[name], call)


# Sentinel


def freeze_and_thaw_before_the_switch(group: SentinelGroup) -> None:
    """Thaw the old primary when a replica has become one and the Sentinels have yet to say so."""
    old = group.master
    others = [node for node in group.nodes if node is not old]
    old.freeze()
    wait_until(lambda: any(node.role() == "master" for node in others), 30)
    old.thaw()
    group.wait_for_failover(old)


@pytest.mark.parametrize(
    "happening",
    [
        lambda group: group.fail_over("kill"),
        lambda group: group.fail_over("freeze"),
        lambda group: group.fail_over("command"),
        freeze_and_thaw_before_the_switch,
    ],
    ids=["killed", "frozen", "on command", "thawed before the switch"],
)
async def test_calls_continue_through_a_failover_of_sentinels(
    sentinel_group: SentinelGroup, tmp_path: Path, happening: Callable[[SentinelGroup], object]
) -> None:
    before = sentinel_group.failovers
    with service_process({**BROKER, "REDIS_URL": sentinel_group.url}, tmp_path / "log") as service:
        calls = await spoken_through(service, "call", lambda: happening(sentinel_group))
        assert service.get_json("/health")["pubsub"]
    assert sentinel_group.failovers > before
    judge(sentinel_group, calls)


# Cluster


def move_slots(cluster: ValkeyCluster) -> None:
    """Move the slots of all that is stored, the old way and the new, to other primaries."""
    for node in cluster.masters:
        for key in node.ask("KEYS", "rtaa:*"):
            slot = cluster.slot_of(key)
            there = next(it for it in cluster.masters if it is not cluster.master_of(slot))
            if slot % 2:
                cluster.move_slot(slot, there)
            else:
                cluster.migrate_slots(slot, slot, there)


@pytest.mark.parametrize(
    "happening",
    [
        lambda it: it.master_of("rtaa:interactions").kill(),
        lambda it: it.master_of("rtaa:audio:{tenant-abc/call-exostreamkit}").freeze(),
        lambda it: [it.hand_over(it.replicas_of(node)[0]) for node in it.masters],
        move_slots,
    ],
    ids=["killed", "frozen", "handed over", "slots moved"],
)
async def test_calls_continue_through_what_happens_to_a_cluster(
    cluster: ValkeyCluster, tmp_path: Path, happening: Callable[[ValkeyCluster], object]
) -> None:
    with service_process({**BROKER, "REDIS_URL": cluster.url}, tmp_path / "log") as service:
        calls = await spoken_through(service, "call", lambda: happening(cluster))
    cluster.heal()
    judge(cluster, calls)


# A fixed address


async def test_with_a_fixed_address_no_old_primary_confirms_what_no_replica_has(
    sentinel_group: SentinelGroup, tmp_path: Path
) -> None:
    """It is back before it is told of the failover, takes writes, and the new one never gets them.

    Without REDIS_CONFIRM=replica they are acked, which `check` has warned of.
    """
    old = sentinel_group.master
    fixed = {"REDIS_URL": old.url, "REDIS_CONFIRM": "replica"}
    with service_process({**BROKER, **fixed}, tmp_path / "log") as service:
        call = await ExostreamkitCall.dial(service.url, "call")
        speaking = asyncio.create_task(call.speak())
        await call.hear_ack(50)
        await asyncio.to_thread(sentinel_group.fail_over, "freeze")
        old.thaw()
        taken = await asyncio.to_thread(_entries_while_primary, old)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        acked = call.acked
    new = sentinel_group.master
    assert taken > new.ask("XLEN", CALL), "the old primary took no writes: the test shows nothing"
    stored = [seq for seq, _ in audio(new.client(), "call")]
    assert stored[: acked + 1] == list(range(acked + 1))


def _entries_while_primary(node: ValkeyNode) -> int:
    """Count what a node has of the call before it is told that it is primary no more."""
    taken = 0
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if node.role() != "master":
                break
            taken = max(taken, node.ask("XLEN", CALL))
        except redis.ConnectionError:
            continue  # a Sentinel that tells it closes all its connections
        time.sleep(0.02)
    return taken


def test_check_warns_of_an_old_primary_that_confirms(sentinel_group: SentinelGroup) -> None:
    for url, confirm, warns in (
        (sentinel_group.master.url, "memory", True),
        (sentinel_group.master.url, "replica", False),
        (sentinel_group.url, "memory", True),
        (sentinel_group.url, "replica", False),
    ):
        told = run("check", env={**OPEN, "REDIS_URL": url, "REDIS_CONFIRM": confirm})
        assert told.returncode == 0, told.stdout + told.stderr
        assert ("min-replicas-to-write is 0" in told.stdout.replace("\n", " ")) is warns
