"""What an operator of several servers is warned of: each seen at real ones."""

from collections.abc import Iterator, Sequence

import pytest
from valkey_cluster import ValkeyCluster
from valkey_sentinel import SentinelGroup

from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions

SECONDS = 3


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup(replicas=1, down_after_ms=SECONDS * 1000) as it:
        yield it


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(node_timeout_ms=SECONDS * 1000) as it:
        yield it


async def advice(url: str, rewind_seconds: float, confirm: Confirm) -> Sequence[str]:
    options = DestinationOptions(rewind_seconds=rewind_seconds)
    destination = RedisDestination(options, url, confirm)
    try:
        return await destination.advise(0)
    finally:
        await destination.close()


@pytest.mark.parametrize(
    ("rewind_seconds", "confirm", "is_warned"),
    [
        (SECONDS + 1, Confirm.MEMORY, False),
        (SECONDS, Confirm.MEMORY, True),
        (SECONDS - 1, Confirm.DISK, True),
        (SECONDS - 1, Confirm.REPLICA, False),
    ],
)
async def test_a_failover_that_takes_longer_than_is_retained_is_warned_of_once(
    group: SentinelGroup,
    cluster: ValkeyCluster,
    rewind_seconds: float,
    confirm: Confirm,
    is_warned: bool,
) -> None:
    for url, setting in (
        (group.url, "down-after-milliseconds"),
        (cluster.url, "cluster-node-timeout"),
    ):
        told = await advice(url, rewind_seconds, confirm)
        warnings = [warning for warning in told if "min-replicas" not in warning]
        assert len(warnings) == is_warned
        for warning in warnings:
            assert f"{setting} of {SECONDS} s" in warning
            assert "REWIND_SECONDS" in warning


async def test_that_no_write_waits_for_a_replica_is_warned_of(group: SentinelGroup) -> None:
    """Behind Sentinels, too: what a process that dies with the primary had kept is not there."""
    for url in (group.master.url, group.url):
        (warning,) = await advice(url, SECONDS + 1, Confirm.MEMORY)
        assert "min-replicas-to-write" in warning
        assert await advice(url, SECONDS + 1, Confirm.REPLICA) == []


async def test_a_node_of_a_cluster_at_a_fixed_address_is_warned_of(cluster: ValkeyCluster) -> None:
    warnings = await advice(cluster.nodes[0].url, SECONDS + 1, Confirm.MEMORY)
    assert any("redis+cluster://" in warning for warning in warnings)
