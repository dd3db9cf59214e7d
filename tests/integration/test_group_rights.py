"""The rights that are documented for several servers: enough for all, and not one too many."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from document_blocks import block, replaced
from valkey_cluster import ValkeyCluster
from valkey_node import NEVER_MS, ValkeyNode
from valkey_sentinel import NAME, SentinelGroup

from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.rights import acl_rule, sentinel_acl_rule
from application.ports.destination import DestinationOptions
from application.ports.errors import PublisherError
from application.ports.store import Failed
from application.testing.appends import begin, following, frames, stream
from application.testing.observed import attempt, expected, read, store

CALL = stream("call")


def allow(node: ValkeyNode, rule: str, *changes: str) -> None:
    """Give the user a rule, as it is documented, and changes; end its connections."""
    words = rule.replace(" USER ", " svc ").replace(">PASSWORD", ">s3")
    node.ask("ACL", "DELUSER", "svc")
    node.ask(*words.split(), *changes)
    node.ask("ACL", "LOG", "RESET")


def refused(node: ValkeyNode) -> list[str]:
    """What the user was refused."""
    entries = [dict(zip(it[::2], it[1::2], strict=True)) for it in node.ask("ACL", "LOG")]
    return [it["object"] for it in entries]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(replicas=3, node_timeout_ms=NEVER_MS) as it:
        yield it


def at_group(group: SentinelGroup, prefix: str = "rtaa") -> RedisDestination:
    login = "sentinel_username=svc&sentinel_password=s3"
    url = f"{group.url.replace('://', '://svc:s3@')}?{login}"
    return RedisDestination(DestinationOptions(prefix=prefix), url, Confirm.REPLICA)


async def complaint(destination: RedisDestination) -> str:
    try:
        await destination.verify_writable()
    except PublisherError as error:
        return str(error)
    finally:
        await destination.close()
    return ""


async def test_the_documented_rights_are_enough_behind_sentinels(
    still_group: SentinelGroup,
) -> None:
    for node in still_group.nodes:
        allow(node, acl_rule("rtaa"))
    for sentinel in still_group.sentinels:
        allow(sentinel, sentinel_acl_rule())
    destination = at_group(still_group)
    try:
        await destination.verify_writable()
        append = begin(CALL, None)
        await store(destination, append)
        assert await read(destination, CALL) == expected(append)
        assert await destination.advise(0) == []
    finally:
        await destination.close()
    assert [refused(node) for node in (*still_group.nodes, *still_group.sentinels)] == [[]] * 5


@pytest.mark.parametrize("right", ["role", "wait"])
async def test_a_right_that_is_missing_behind_sentinels_is_told(
    still_group: SentinelGroup, right: str
) -> None:
    for sentinel in still_group.sentinels:
        allow(sentinel, sentinel_acl_rule())
    for node in still_group.nodes:
        allow(node, acl_rule("rtaa"), f"-{right}")
    told = await complaint(at_group(still_group))
    assert f"'{right}'" in told
    assert "svc" not in told


@pytest.mark.parametrize("right", ["ping", "sentinel|get-master-addr-by-name"])
async def test_a_right_that_is_missing_at_the_sentinels_is_told_as_theirs(
    still_group: SentinelGroup, right: str
) -> None:
    for node in still_group.nodes:
        allow(node, acl_rule("rtaa"))
    for sentinel in still_group.sentinels:
        allow(sentinel, sentinel_acl_rule(), f"-{right}")
    told = await complaint(at_group(still_group))
    for sentinel in still_group.sentinels:
        assert f"Sentinel {sentinel.address}" in told
    assert f"'{right}'" in told
    assert "svc" not in told


async def test_without_the_right_to_ask_sentinels_for_down_after_calls_are_stored(
    still_group: SentinelGroup,
) -> None:
    for node in still_group.nodes:
        allow(node, acl_rule("rtaa"))
    for sentinel in still_group.sentinels:
        allow(sentinel, sentinel_acl_rule(), "-sentinel|master")
    destination = at_group(still_group)
    await destination.verify_writable()
    assert destination._link.down_after_seconds is None
    assert await complaint(destination) == ""


def at_cluster(cluster: ValkeyCluster) -> RedisDestination:
    url = cluster.url.replace("://", "://svc:s3@")
    return RedisDestination(DestinationOptions(), url, Confirm.REPLICA)


@pytest.mark.parametrize("withheld", ["", "asking", "cluster|slots"])
async def test_the_documented_rights_are_enough_in_a_cluster_and_not_too_many(
    cluster: ValkeyCluster, withheld: str
) -> None:
    for node in cluster.nodes:
        allow(node, acl_rule("rtaa"), *([f"-{withheld}"] if withheld else []))
    destination = at_cluster(cluster)
    key = stream(f"call-without-{withheld.replace('|', '-')}")
    slot = cluster.slot_of(str(key))
    source = cluster.master_of(slot)
    target = next(node for node in cluster.masters if node is not source)
    try:
        if withheld == "cluster|slots":
            with pytest.raises(PublisherError, match=r"'cluster\|slots'"):
                await destination.verify_writable()
            return
        await destination.verify_writable()
        first = begin(key, None)
        await store(destination, first)
        move = cluster.begin_move(slot, target)
        move.move_keys()
        second = following(first.head, *frames(key, 0, 10))
        (outcome,) = await attempt(destination, [second])
        assert isinstance(outcome, Failed) == (withheld == "asking")
        move.finish()
        cluster.wait_until_healthy()
    finally:
        await destination.close()
    assert {it for node in cluster.nodes for it in refused(node)} == {withheld} - {""}


def test_the_lines_of_the_page_reach_both_groups(
    still_group: SentinelGroup, cluster: ValkeyCluster
) -> None:
    at_cluster, at_sentinels = block("docs/several-servers.md", "broker = ").text.splitlines()
    port = cluster.nodes[0].port
    one = replaced(at_cluster, **{"redis://h1:6379": f"redis://127.0.0.1:{port}"})
    host, _, port_of_one = still_group.sentinels[0].address.rpartition(":")
    two = replaced(at_sentinels, **{'"h1"': f'"{host}"', "26379": port_of_one, "NAME": NAME})
    for line, commands in ((one, ["ping()"]), (two, ["ping()", "role()[0] == b'master'"])):
        asked = " and ".join(f"broker.{it}" for it in commands)
        program = f"import redis\n{line}\nprint({asked})"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.stdout == "True\n", done.stderr
