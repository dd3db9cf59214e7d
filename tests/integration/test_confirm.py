"""What an append that is confirmed means, at real servers: `REDIS_CONFIRM`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from broker_lab import BrokerLab
from valkey_node import ValkeyNode
from valkey_sentinel import SentinelGroup

from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.store import Append, Appended, Conflict, Failed
from application.testing.appends import begin, stream
from application.testing.observed import attempt, settle

CALL = stream("call")


@asynccontextmanager
async def connected(url: str, confirm: Confirm, prefix: str) -> AsyncIterator[RedisDestination]:
    destination = RedisDestination(DestinationOptions(prefix=prefix), url, confirm)
    try:
        yield destination
    finally:
        await destination.close()


@pytest.fixture
def replica(still_group: SentinelGroup) -> Iterator[ValkeyNode]:
    (it,) = still_group.replicas
    yield it
    still_group.heal()


async def is_unconfirmed(destination: RedisDestination, append: Append) -> bool:
    """Whether neither the append nor a look at the head after it is answered."""
    (outcome,) = await attempt(destination, [append])
    assert isinstance(outcome, Failed)
    assert "no replica" in str(outcome.error)
    with pytest.raises(PublisherError, match="no replica"):
        await destination.store.heads([append.stream])
    return True


async def test_nothing_is_confirmed_that_no_replica_has_however_often_it_is_asked(
    still_group: SentinelGroup, replica: ValkeyNode
) -> None:
    first = begin(CALL, None)
    async with connected(still_group.url, Confirm.REPLICA, "one") as destination:
        await settle(destination, [begin(stream("before"), None)])  # the script is known
        replica.freeze()
        for _ in range(2):
            assert await is_unconfirmed(destination, first)
            destination._link.give_up("any", "another connection has written nothing")
        with pytest.raises(PublisherError, match="no replica"):
            await destination.verify_writable()
        replica.thaw()
        await settle(destination, [first])
        await destination.verify_writable()
    assert replica.ask("EXISTS", f"one:audio:{{{CALL}}}") == 1


async def test_nothing_is_confirmed_whose_script_was_lost_meanwhile(
    still_group: SentinelGroup, replica: ValkeyNode
) -> None:
    async with connected(still_group.url, Confirm.REPLICA, "two") as destination:
        await settle(destination, [begin(stream("before"), None)])
        still_group.master.ask("SCRIPT", "FLUSH")
        replica.freeze()
        append = begin(CALL, None)
        assert await is_unconfirmed(destination, append)
        replica.thaw()
        await settle(destination, [append])


async def test_without_the_choice_a_replica_is_not_waited_for(
    still_group: SentinelGroup, replica: ValkeyNode
) -> None:
    async with connected(still_group.url, Confirm.MEMORY, "three") as destination:
        await settle(destination, [begin(stream("before"), None)])
        replica.freeze()
        assert await attempt(destination, [begin(CALL, None)]) == [Appended()]


async def test_a_primary_that_is_demoted_while_a_replica_is_waited_for_may_be_one_again() -> None:
    with BrokerLab() as lab, lab.client() as client:
        async with connected(lab.url, Confirm.REPLICA, "rtaa") as destination:
            appending = asyncio.create_task(attempt(destination, [begin(CALL, None)]))
            while not client.info("clients")["blocked_clients"]:
                await asyncio.sleep(0.01)
            client.replicaof("127.0.0.1", 1)
            (outcome,) = await appending
            assert isinstance(outcome, Failed)
            assert "UNBLOCKED" in str(outcome.error)
            assert isinstance(outcome.error, BrokerUnavailable)


@pytest.mark.parametrize(
    ("setting", "value", "usual", "expected"),
    [
        ("appendfsync", "everysec", "always", "appendfsync always"),
        ("appendfsync", "no", "always", "appendfsync always"),
        ("appendonly", "no", "yes", "appendonly yes"),
        ("no-appendfsync-on-rewrite", "yes", "no", "no-appendfsync-on-rewrite no"),
    ],
)
async def test_a_broker_that_syncs_no_more_is_refused_while_it_runs_and_taken_again(
    setting: str, value: str, usual: str, expected: str
) -> None:
    with BrokerLab(appendfsync="always") as lab, lab.client() as client:
        async with connected(lab.url, Confirm.DISK, "rtaa") as destination:
            await destination.verify_writable()
            assert await attempt(destination, [begin(CALL, None)]) == [Appended()]
            epoch = destination.store.epoch_of(CALL)
            client.config_set(setting, value)
            for _ in range(2):  # it is tried every second, and then nothing is confirmed any more
                with pytest.raises(BrokerRefused, match=expected):
                    await destination.verify_writable()
                (outcome,) = await attempt(destination, [begin(stream("late"), None)])
                assert isinstance(outcome, Failed)
                assert expected in str(outcome.error)
            client.config_set(setting, usual)
            await destination.verify_writable()
            assert destination.store.epoch_of(CALL) > epoch
            (outcome,) = await attempt(destination, [begin(CALL, None)])
            assert isinstance(outcome, Appended | Conflict)
        async with connected(lab.url, Confirm.DISK, "rtaa") as fresh:
            client.config_set(setting, value)
            with pytest.raises(BrokerRefused, match=expected):
                await fresh.verify_writable()
