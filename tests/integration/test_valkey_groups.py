"""The groups of test servers: each does what a test of the service will rely on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from audit import audit, audit_clean
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry
from running import Caller
from valkey_cluster import ValkeyCluster
from valkey_node import ValkeyNode
from valkey_sentinel import How, SentinelGroup
from waiting import wait_until

pytestmark = pytest.mark.long(20)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Sentinel


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_replica_takes_over_from_a_master_that_is_gone(
    sentinel_group: SentinelGroup, how: How
) -> None:
    old, failovers = sentinel_group.master, sentinel_group.failovers
    old.ask("SET", "before", how)
    assert old.ask("WAIT", 2, 5_000) == 2
    new = sentinel_group.fail_over(how)
    assert new is sentinel_group.master
    assert new is not old
    assert new.ask("GET", "before") == how
    wait_until(lambda: sentinel_group.failovers == failovers + 1)

    if how == "kill":
        old.start()
    else:
        old.thaw()
    assert old.role() == "master"  # for a while it does not know, and takes writes
    old.ask("SET", "too late", how)
    sentinel_group.wait_until_healthy()
    assert old.role() == "slave"
    assert sentinel_group.master is new
    assert old.ask("GET", "too late") is None
    assert old in sentinel_group.replicas


def test_the_sentinels_hand_over_on_command(sentinel_group: SentinelGroup) -> None:
    old = sentinel_group.master
    assert sentinel_group.fail_over("command") is not old
    sentinel_group.wait_until_healthy()
    assert old in sentinel_group.replicas


def test_a_group_heals_whatever_is_dead_or_frozen(sentinel_group: SentinelGroup) -> None:
    sentinel_group.replicas[0].kill()
    os.kill(sentinel_group.replicas[1].pid, signal.SIGKILL)  # it dies by itself
    sentinel_group.sentinels[0].freeze()
    sentinel_group.sentinels[1].stop()
    sentinel_group.heal()
    assert len({node.pid for node in (*sentinel_group.nodes, *sentinel_group.sentinels)}) == 6


def test_passwords_are_asked_for_and_a_master_without_replicas_takes_no_writes() -> None:
    with SentinelGroup(
        replicas=1, password="data", sentinel_password="watch", min_replicas_to_write=1
    ) as group:
        hosts = ",".join(sentinel.address for sentinel in group.sentinels)
        assert group.url == f"redis+sentinel://:data@{hosts}/rtaa"
        for node in (group.master, group.sentinels[0]):
            with (
                redis.Redis(
                    port=node.port, password="wrong", retry=Retry(NoBackoff(), 0)
                ) as stranger,
                pytest.raises(AuthenticationError),
            ):
                stranger.ping()
        group.master.ask("SET", "key", "1")
        group.replicas[0].stop()
        with pytest.raises(ResponseError, match="NOREPLICAS"):
            wait_until(lambda: not group.master.ask("SET", "key", "1"))


async def test_an_audit_counts_what_is_stored_and_finds_what_is_not(
    sentinel_group: SentinelGroup, start_service: Any, name: str
) -> None:
    service = start_service(REDIS_URL=sentinel_group.master.url)
    for frames in (20, 10):
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(*range(frames))
        await caller.end()
    stream = audit_clean(sentinel_group.masters)[f"tenant-abc/{name}"]
    assert [run.seqs for run in stream.runs] == [tuple(range(20)), tuple(range(10))]
    assert (stream.frames, stream.next) == (30, 34)
    ledgers = [run.ended["ledger"] for run in stream.runs if run.ended is not None]
    assert stream.payload_bytes == sum(ledger["bytes"] for ledger in ledgers)

    key = f"rtaa:audio:{{tenant-abc/{name}}}"
    sentinel_group.master.ask("XDEL", key, "1-3")
    (found,) = audit(sentinel_group.masters).values()
    assert {"position", "gap", "ledger"} <= {defect.kind for defect in found.defects}

    sentinel_group.master.ask("XTRIM", key, "MINID", "1-10")
    sentinel_group.master.ask("HSET", f"rtaa:interaction:{{tenant-abc/{name}}}", "trimmed", 10)
    (found,) = audit_clean(sentinel_group.masters).values()
    assert (found.trimmed, found.frames) == (10, 21)
    sentinel_group.master.ask("XDEL", key, "1-21")
    (found,) = audit(sentinel_group.masters).values()
    assert "ended" in {defect.kind for defect in found.defects}


# Cluster


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_replica_serves_the_slots_of_a_master_that_is_gone(
    cluster: ValkeyCluster, how: str
) -> None:
    old = cluster.masters[0]
    key = f"{{{cluster.tag_of(old)}}}"
    old.ask("SET", key, how)
    assert old.ask("WAIT", 1, 5_000) == 1
    if how == "kill":
        old.kill()
    else:
        old.freeze()
    new = cluster.wait_for_failover(cluster.slot_of(key))
    assert new is cluster.master_of(key)
    assert new is not old
    assert new.ask("GET", key) == how

    if how == "kill":
        old.start()
    else:
        old.thaw()
    cluster.wait_until_healthy()
    assert cluster.replicas_of(new) == [old]
    assert cluster.hand_over(old) is cluster.master_of(key)


def test_a_slot_half_moved_answers_ask_and_tryagain(cluster: ValkeyCluster) -> None:
    source, target, *_ = cluster.masters
    tag = cluster.tag_of(source)
    keys = [f"{{{tag}}}:{number}" for number in range(3)]
    source.ask("MSET", *(part for key in keys for part in (key, "1")))
    move = cluster.begin_move(cluster.slot_of(keys[0]), target)
    move.move_keys(keys[0])
    assert source.ask("GET", keys[1]) == "1"
    with pytest.raises(AskError, match=target.address):
        source.ask("GET", keys[0])
    with pytest.raises(TryAgainError):
        source.ask("MGET", *keys)
    with pytest.raises(MovedError, match=source.address):
        target.ask("GET", keys[0])
    assert cluster.master_of(keys[0]) is source

    move.give_up()
    assert source.ask("MGET", *keys) == ["1", "1", "1"]
    assert cluster.master_of(keys[0]) is source


@pytest.mark.parametrize("way", ["old", "new"])
def test_a_slot_that_was_moved_is_served_by_the_other_node(
    cluster: ValkeyCluster, way: str
) -> None:
    if way == "new" and not cluster.can_migrate_slots():
        pytest.skip("this server has no CLUSTER MIGRATESLOTS")
    source, target, *_ = cluster.masters
    key = f"{{{cluster.tag_of(source)}}}"
    slot = cluster.slot_of(key)
    source.ask("SET", key, "1")
    if way == "old":
        cluster.move_slot(slot, target)
    else:
        cluster.migrate_slots(slot, slot, target)
    assert cluster.master_of(key) is target
    assert target.ask("GET", key) == "1"
    with pytest.raises(MovedError, match=target.address):
        source.ask("GET", key)


def test_a_master_is_added_takes_a_slot_and_is_removed_again(cluster: ValkeyCluster) -> None:
    added = cluster.add_master()
    assert added not in cluster.masters
    slot = cluster.slot_of(f"{{{cluster.tag_of(cluster.masters[0])}}}")
    before = cluster.master_of(slot)
    cluster.move_slot(slot, added)
    assert added in cluster.masters
    with pytest.raises(ValueError, match="serves slots"):
        cluster.remove(added)
    cluster.move_slot(slot, before)
    cluster.remove(added)
    assert added not in cluster.nodes
    assert not added.is_running


# The end


def test_no_process_is_left_when_a_group_is_closed() -> None:
    with SentinelGroup(replicas=1, sentinels=1) as group:
        pids = [node.pid for node in (*group.nodes, *group.sentinels)]
        group.replicas[0].freeze()
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
    assert not group.nodes[0].folder.exists()


def test_a_server_dies_with_the_process_that_is_killed_even_if_it_is_frozen(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, valkey_node\n"
        "node = valkey_node.ValkeyNode(pathlib.Path(sys.argv[1]), {})\n"
        "node.start(); node.freeze(); print(node.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))


def test_a_node_keeps_its_port_and_its_data_when_it_comes_back(tmp_path: Path) -> None:
    node = ValkeyNode(tmp_path, {"appendonly": "yes"})
    try:
        node.start()
        port = node.port
        node.ask("SET", "key", "1")
        node.kill()
        assert not node.is_running
        node.start()
        node.restart()
        assert (node.port, node.ask("GET", "key")) == (port, "1")
    finally:
        node.kill()
