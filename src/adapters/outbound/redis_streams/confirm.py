"""The meaning of an answer of the broker: `REDIS_CONFIRM`.

memory    the server has it; whether it syncs it depends on its appendfsync
disk      the server has synced it; a server without appendfsync always is refused
replica   a replica has it too: each round waits for one
"""

from enum import Enum
from functools import partial

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import Admit, Find, connection_to
from adapters.outbound.redis_streams.connection import RespProtocol
from adapters.outbound.redis_streams.marks import Marks
from adapters.outbound.redis_streams.replies import failure_of
from adapters.outbound.redis_streams.resp import Command, Reply
from adapters.outbound.redis_streams.server import Pipeline, ReplicatedPipeline
from application.ports.errors import BrokerRefused

DISK_QUESTIONS: tuple[Command, ...] = (
    ("INFO", "persistence"),
    ("CONFIG", "GET", "appendfsync"),
    ("CONFIG", "GET", "no-appendfsync-on-rewrite"),
)


class Confirm(Enum):
    """The values of `REDIS_CONFIRM`."""

    MEMORY = "memory"
    DISK = "disk"
    REPLICA = "replica"


def pipeline_to(
    address: Address,
    confirm: Confirm,
    prefix: str,
    marks: Marks,
    *,
    find: Find | None = None,
    admit: tuple[Admit, ...] = (),
) -> Pipeline:
    """Make the pipeline to a server whose answers have the chosen meaning."""
    if confirm is Confirm.DISK:
        admit = (*admit, _admit_synced)
    connection = connection_to(address, find=find, admit=admit)
    if confirm is Confirm.REPLICA:
        return ReplicatedPipeline(connection, marks, partial(layout.confirm_key, prefix))
    return Pipeline(connection)


async def _admit_synced(protocol: RespProtocol) -> None:
    """Refuse a server that answers before it has synced.

    Raises:
        PublisherError: it does, or it does not tell.

    """
    raise_unless_synced(*await protocol.run(DISK_QUESTIONS))


def raise_unless_synced(persistence: Reply, appendfsync: Reply, on_rewrite: Reply) -> None:
    """Raise unless the answers to `DISK_QUESTIONS` say that each write is synced.

    WAITAOF is no proof: with appendfsync everysec it was seen to answer without a sync. With
    no-appendfsync-on-rewrite nothing is synced while the server saves or rewrites its file, also
    for a replica that it sends everything.

    Raises:
        PublisherError: writes are not synced, or the server does not tell.

    """
    for reply in (persistence, appendfsync, on_rewrite):
        failure = failure_of(reply)
        if failure is not None:
            raise type(failure)(f"REDIS_CONFIRM=disk cannot be verified: {failure}") from failure
    if b"aof_enabled:1" not in persistence.split():
        raise BrokerRefused("REDIS_CONFIRM=disk needs appendonly yes at the broker")
    setting = appendfsync[1].decode(errors="replace") if appendfsync else "not told"
    if setting != "always":
        raise BrokerRefused(
            f"REDIS_CONFIRM=disk needs appendfsync always at the broker, where it is {setting}"
        )
    if on_rewrite and on_rewrite[1] != b"no":
        raise BrokerRefused("REDIS_CONFIRM=disk needs no-appendfsync-on-rewrite no at the broker")
