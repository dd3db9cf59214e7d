"""What an operator is warned of before it costs audio: each seen at a real broker."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from broker_lab import BrokerLab
from commands import OPEN, run
from waiting import wait_until

from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


async def advice(broker: BrokerLab, expected_bytes: int = 0) -> Sequence[str]:
    destination = RedisDestination(DestinationOptions(), broker.url)
    try:
        return await destination.advise(expected_bytes)
    finally:
        await destination.close()


async def test_a_broker_that_is_set_up_as_documented_needs_no_advice(lab: BrokerLab) -> None:
    assert await advice(lab, 100 * MIB) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"appendonly": "no", "save": ""}, ("appendonly no", "loses everything")),
        ({"appendonly": "no", "save": "3600 1"}, ("appendonly no", "since its last snapshot")),
        ({"appendfsync": "no"}, ("appendfsync is no",)),
        ({"no-appendfsync-on-rewrite": "yes"}, ("no-appendfsync-on-rewrite is yes",)),
        ({"maxmemory-policy": "volatile-lru"}, ("evict", "volatile-lru")),
        ({"maxmemory": "50mb"}, ("maxmemory of 50 MiB", "100 MiB")),
    ],
)
async def test_a_setting_that_may_lose_audio_is_warned_of(
    lab: BrokerLab, settings: dict[str, str], words: tuple[str, ...]
) -> None:
    with lab.client() as client:
        usual: Any = {name: client.config_get(name)[name] for name in settings}
        for name, value in settings.items():
            client.config_set(name, value)
        try:
            (warning,) = await advice(lab, 100 * MIB)
        finally:
            for name, value in usual.items():
                client.config_set(name, value)
    assert all(word in warning for word in words)


async def test_replicas_that_no_write_waits_for_are_warned_of(lab: BrokerLab) -> None:
    with BrokerLab(replicaof=f"127.0.0.1 {lab.port}"), lab.client() as client:
        replication: Any = client.info
        wait_until(lambda: replication("replication")["connected_slaves"] == 1)
        (warning,) = await advice(lab)
        assert "min-replicas-to-write is 0" in warning
        client.config_set("min-replicas-to-write", "1")
        try:
            assert await advice(lab) == []
        finally:
            client.config_set("min-replicas-to-write", "0")


async def test_a_replica_that_takes_writes_is_warned_of(lab: BrokerLab) -> None:
    settings = {"replicaof": f"127.0.0.1 {lab.port}", "replica-read-only": "no"}
    with BrokerLab(**settings) as replica, replica.client() as client:
        replication: Any = client.info
        wait_until(lambda: replication("replication")["master_link_status"] == "up")
        (warning,) = await advice(replica)
    assert "is a replica" in warning


def test_check_shows_the_warnings_and_the_service_still_works(lab: BrokerLab) -> None:
    with lab.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = run("check", env={**OPEN, "REDIS_URL": lab.url})
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 0
    assert "WARNING: the broker may evict live calls" in done.stdout
