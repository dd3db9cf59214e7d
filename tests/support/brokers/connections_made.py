"""Connections to a broker, made for one test, and one command over them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from adapters.outbound.redis_streams.connection import Connection

Connect = Callable[[str], Connection]
"""From the URL of a broker; it dials when it is first used."""


@asynccontextmanager
async def connections() -> AsyncIterator[Connect]:
    """Make connections, which leave no task and no open call behind."""
    made: list[Connection] = []
    before = asyncio.all_tasks()

    def make(url: str) -> Connection:
        made.append(connection_to(Address.of(url)))
        return made[-1]

    yield make
    for connection in made:
        await connection.close()
        assert connection._connecting.is_idle
        assert connection._protocol is None or not connection._protocol._calls
    assert asyncio.all_tasks() - before == {asyncio.current_task()}


async def ask(connection: Connection, *words: bytes | str | int) -> Any:
    """Run one command and return its reply, which may be an `ErrorReply`."""
    (reply,) = await connection.run([words])
    return reply
