"""A slot that is half moved takes its own streams' time, and nothing else."""

from collections.abc import AsyncIterator, Iterator

import pytest
from slot_move import SlotMove
from valkey_cluster import ValkeyCluster
from waiting import wait_until

from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.layout import confirm_key, index_key, open_key, stream_key
from adapters.outbound.redis_streams.marks import MARK
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerUnavailable
from application.ports.store import APPENDED
from application.testing.appends import begin_with, frames, stream

PREFIX = "rtaa"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(masters=2, replicas=2) as servers:
        yield servers


@pytest.fixture(params=list(Confirm)[::2], ids=lambda it: it.value)
async def destination(
    cluster: ValkeyCluster, request: pytest.FixtureRequest
) -> AsyncIterator[RedisDestination]:
    cluster.flush()
    connected = RedisDestination(DestinationOptions(prefix=PREFIX), cluster.url, request.param)
    yield connected
    await connected.close()


@pytest.fixture
def moves(cluster: ValkeyCluster) -> Iterator[list[SlotMove]]:
    moves: list[SlotMove] = []
    yield moves
    for move in moves:
        move.give_up()


@pytest.mark.parametrize("shared", [MARK, "index", "open"])
async def test_parts_take_writes_while_the_slot_of_a_key_that_all_share_is_half_moved(
    cluster: ValkeyCluster, destination: RedisDestination, moves: list[SlotMove], shared: str
) -> None:
    await destination.verify_writable()
    first = begin_with(stream("call"), *frames(stream("call"), 0, 2))
    assert list(await destination.store.append([first])) == [APPENDED]
    await destination.open_runs.heartbeat([first.stream])
    key = {MARK: f"{{{MARK}}}", "index": index_key(PREFIX), "open": open_key(PREFIX)}[shared]
    source = cluster.master_of(key)
    target = next(node for node in cluster.masters if node is not source)
    move = cluster.begin_move(cluster.slot_of(key), target)
    moves.append(move)
    move.move_keys()
    for part in destination.parts():
        await destination.verify_part(part.name)


async def test_appends_follow_a_primary_that_hands_over(
    cluster: ValkeyCluster, destination: RedisDestination
) -> None:
    await destination.verify_writable()
    old = cluster.masters[0]
    keys = map(stream, (f"call-{number}" for number in range(100)))
    key = next(it for it in keys if cluster.master_of(stream_key(PREFIX, it)) is old)
    (replica,) = cluster.replicas_of(old)
    replica.ask("CLUSTER", "FAILOVER")
    wait_until(lambda: old.role() == "slave")
    append = begin_with(key, *frames(key, 0, 2))
    try:
        outcomes = await destination.store.append([append])
    except BrokerUnavailable:  # the map of slots came while the old primary was asked
        outcomes = await destination.store.append([append])
    cluster.wait_until_healthy()
    assert list(outcomes) == [APPENDED]


async def test_appends_are_confirmed_while_the_slot_that_replicas_are_waited_with_is_half_moved(
    cluster: ValkeyCluster, destination: RedisDestination, moves: list[SlotMove]
) -> None:
    await destination.verify_writable()
    key = confirm_key(PREFIX, MARK)
    source = cluster.master_of(key)
    target = next(node for node in cluster.masters if node is not source)
    moves.append(cluster.begin_move(cluster.slot_of(key), target))
    moves[0].move_keys()
    begins = [begin_with(it, *frames(it, 0, 2)) for it in map(stream, ("a", "b", "c", "d"))]
    assert list(await destination.store.append(begins)) == [APPENDED] * 4
