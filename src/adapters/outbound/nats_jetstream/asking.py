"""Requests over a connected socket, and how long their answers may take."""

import asyncio
from collections.abc import Sequence
from typing import cast

from adapters.outbound.nats_jetstream.failures import unanswered
from adapters.outbound.nats_jetstream.protocol import NatsProtocol, Reply, Request
from application.ports.errors import PublisherError

PING_SECONDS = 1.0
"""How long requests wait before a PING tests the server."""

ANSWER_SECONDS = 4.0
"""How long requests may take. A stream without a leader is silent; callers give up after 5 s."""


async def ask(
    protocol: NatsProtocol, requests: Sequence[Request], seconds: float = ANSWER_SECONDS
) -> Sequence[Reply | PublisherError]:
    """Send requests over a connected socket; see `Connection.run`.

    Raises:
        PublisherError: the connection was lost.

    """
    of = protocol.send(requests)
    try:
        if not await _done_within(of.done, min(seconds, PING_SECONDS)):
            protocol.ping()
            await _done_within(of.done, seconds - PING_SECONDS)
        if of.done.done():
            of.done.result()
    finally:
        protocol.forget(of)
        if not of.done.done():
            protocol.abort_if_silent()
    if protocol.is_lost and not of.done.done():
        raise unanswered(seconds)
    late = None if of.done.done() else unanswered(seconds)
    return [it if it is not None else late or unanswered(seconds) for it in of.replies]


async def ask_many(protocol: NatsProtocol, request: Request) -> Sequence[Reply]:
    """Send a request with several answers; see `Connection.run_many`.

    Raises:
        PublisherError: it was not answered, or the connection was lost.

    """
    of = protocol.send([request], is_many=True)
    try:
        if not await _done_within(of.done, ANSWER_SECONDS):
            raise unanswered(ANSWER_SECONDS)
        of.done.result()
    finally:
        protocol.forget(of)
        if not of.done.done():
            protocol.abort_if_silent()
    for reply in of.replies:
        if isinstance(reply, PublisherError):
            raise reply
    return cast("Sequence[Reply]", of.replies)


async def _done_within(future: asyncio.Future[None], seconds: float) -> bool:
    """Wait for a future, without cancelling it at the time-out."""
    if seconds > 0 and not future.done():
        await asyncio.wait([future], timeout=seconds)
    return future.done()
