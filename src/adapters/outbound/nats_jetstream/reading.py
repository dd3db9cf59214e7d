"""Messages of some subjects in order, page by page, up to the last that the leader has.

A page comes from any server that has the stream, which may lag; messages that it lacks are
requested from the leader, one by one.
"""

from collections.abc import AsyncIterator

from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.access import Access
from adapters.outbound.nats_jetstream.asking import ANSWER_SECONDS
from adapters.outbound.nats_jetstream.protocol import Reply, Request, header
from adapters.outbound.nats_jetstream.requests import Stored
from application.ports.errors import BrokerUnavailable

PAGE_MESSAGES = 256
PAGE_BYTES = 8 * 1024 * 1024

_FOUND_STATUSES = (0, 204)


async def ask_message(access: Access, request: Request) -> Stored | None:
    """Ask for one message; None if there is none.

    Raises:
        PublisherError: it was not answered.

    """
    with access.asking_leader():
        (reply,) = await access.run([request], ANSWER_SECONDS)
        if isinstance(reply, Reply) and not reply.status:
            access.note_lacking(requests.answer(reply))
            if access.is_lacking:
                (reply,) = await access.run([request], ANSWER_SECONDS)
        return requests.message(reply)


async def messages(
    access: Access, stream: str, subjects: str, first: int, last: int
) -> AsyncIterator[Stored]:
    """Yield the messages from one sequence to another, both included.

    Raises:
        PublisherError: they could not be read.

    """
    sequence, lags = first, False
    while sequence <= last:
        page = [] if lags else await _page(access, stream, subjects, sequence)
        if not page:
            lags = True
            stored = await ask_message(access, requests.following(stream, subjects, sequence))
            if stored is None:
                return
            page = [stored]
        for stored in page:
            if stored.sequence > last:
                return
            yield stored
        sequence = page[-1].sequence + 1


async def _page(access: Access, stream: str, subjects: str, sequence: int) -> list[Stored]:
    replies = await access.run_many(
        requests.page(stream, subjects, sequence, PAGE_MESSAGES, PAGE_BYTES)
    )
    if replies and replies[-1].status == requests.NO_RESPONDERS:
        return []  # the stream does not allow it
    return [_stored(reply) for reply in replies if not reply.status]


def _stored(reply: Reply) -> Stored:
    sequence, subject = (
        header(reply.headers, b"Nats-Sequence"),
        header(reply.headers, b"Nats-Subject"),
    )
    if sequence is None or subject is None:
        raise BrokerUnavailable("a message without its sequence") from ValueError("headers")
    return Stored(int(sequence), subject.decode(), reply.payload)
