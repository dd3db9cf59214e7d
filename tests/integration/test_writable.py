"""What a real broker refuses is told by who asks whether it takes writes, and by who only tends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from broker_lab import BrokerLab
from broker_refusals import (
    out_of_memory,
    read_only,
    unable_to_save,
    without_replicas,
)

from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions
from application.ports.errors import PublisherError

Refusal = Callable[[BrokerLab], AbstractContextManager[None]]

REFUSED = r"NOPERM|permission"


@pytest.fixture
async def lab() -> AsyncIterator[BrokerLab]:
    with BrokerLab() as lab:
        yield lab


@pytest.fixture
async def destination(lab: BrokerLab) -> AsyncIterator[RedisDestination]:
    destination = RedisDestination(DestinationOptions(), lab.url)
    yield destination
    await destination.close()


@pytest.mark.parametrize("key", ["rtaa:interactions", "rtaa:open"])
async def test_a_shared_key_of_another_type_or_out_of_reach_is_told(
    lab: BrokerLab, destination: RedisDestination, key: str
) -> None:
    with lab.client() as client:
        broker: Any = client
        client.set(key, "of another program")
        with pytest.raises(PublisherError, match="WRONGTYPE"):
            await destination.verify_writable()
        client.delete(key)
        await destination.verify_writable()
        assert not client.exists(key)  # nothing was written
        rest = [f"~rtaa:{it}" for it in ("{*", "interactions", "open") if f"rtaa:{it}" != key]
        broker.execute_command("ACL", "SETUSER", "default", "resetkeys", *rest)
        with pytest.raises(PublisherError, match=REFUSED):
            await destination.verify_writable()


@pytest.mark.parametrize("refuse", [out_of_memory, read_only, unable_to_save, without_replicas])
async def test_a_process_without_streams_notices_too_that_no_heartbeat_can_be_given(
    lab: BrokerLab, destination: RedisDestination, refuse: Refusal
) -> None:
    await destination.open_runs.heartbeat([])
    refusal = refuse(lab)
    await asyncio.to_thread(refusal.__enter__)
    try:
        with pytest.raises(PublisherError):
            await destination.open_runs.heartbeat([])
    finally:
        refusal.__exit__(None, None, None)


async def test_what_another_program_has_put_among_the_open_runs_is_no_run(
    lab: BrokerLab, destination: RedisDestination
) -> None:
    with lab.client() as client:
        broker: Any = client
        broker.zadd("rtaa:open", {"garbage": 1, b"\xff/\xfe": 2, "tenant/": 3})
    assert await destination.open_runs.heartbeats() == {}
