"""What an operator should know of the broker that is behind `REDIS_URL`."""

import asyncio
from collections.abc import Mapping, Sequence

from redis.exceptions import ResponseError

from adapters.outbound.redis_streams.connection import Connection, Reply
from adapters.outbound.redis_streams.failures import CLUSTER, translate
from adapters.outbound.redis_streams.resp import Command
from application.ports.errors import BrokerUnavailable

ANSWER_SECONDS = 4.0

_SECTIONS = ("memory", "persistence", "replication", "cluster")
_SETTINGS = ("appendfsync", "save")
_QUESTIONS: tuple[Command, ...] = (
    *(("INFO", section) for section in _SECTIONS),
    *(("CONFIG", "GET", setting) for setting in _SETTINGS),
)


async def advice(connection: Connection, expected_bytes: int) -> Sequence[str]:
    """Return warnings; what a managed broker keeps to itself is passed over, and said.

    Raises:
        PublisherError: the broker was not reached.

    """
    await connection.connect()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            replies = await connection.run(_QUESTIONS)
    except TimeoutError as error:
        raise BrokerUnavailable(f"no answer within {ANSWER_SECONDS:g} s") from error
    facts: dict[str, str] = {}
    for reply in replies[: len(_SECTIONS)]:
        facts |= _section(reply)
    for reply in replies[len(_SECTIONS) :]:
        facts |= _setting(reply)
    return [
        *_untold(replies[0]),
        *_of_memory(facts, expected_bytes),
        *_of_disk(facts),
        *_of_replicas(facts),
        *([f"cluster_enabled is 1: {CLUSTER}"] if facts.get("cluster_enabled") == "1" else ()),
    ]


def _section(reply: Reply) -> Mapping[str, str]:
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _setting(reply: Reply) -> Mapping[str, str]:
    if not isinstance(reply, list) or not reply:
        return {}
    name, value = (part.decode(errors="replace") for part in reply[:2])
    return {name: value}


def _untold(reply: Reply) -> Sequence[str]:
    if not isinstance(reply, ResponseError):
        return []
    return [
        (
            "the broker does not tell about its memory, its disk and its replicas (INFO): "
            f"{translate(reply)}"
        )
    ]


def _of_memory(facts: Mapping[str, str], expected_bytes: int) -> Sequence[str]:
    warnings = []
    policy, limit = facts.get("maxmemory_policy", "noeviction"), int(facts.get("maxmemory", 0))
    if policy != "noeviction":
        warnings.append(
            f"the broker may evict live calls: maxmemory-policy is {policy}, not noeviction"
        )
    if 0 < limit < expected_bytes:
        warnings.append(
            f"the broker's maxmemory of {limit >> 20} MiB is less than the "
            f"{expected_bytes >> 20} MiB that MAX_STREAMS, RETENTION_SECONDS and "
            f"EXPIRE_SECONDS may call for"
        )
    return warnings


def _of_disk(facts: Mapping[str, str]) -> Sequence[str]:
    if facts.get("aof_enabled") == "0":
        lost = "what it took since its last snapshot"
        if facts.get("save") == "":
            lost = "everything (save is empty, too)"
        return [
            (
                f"the broker writes no append-only file (appendonly no): a restart loses {lost}, "
                "acknowledged audio with it; only what REWIND_SECONDS covers is given again"
            )
        ]
    if facts.get("appendfsync") == "no":
        return [
            (
                "the broker's appendfsync is no: a crash of its machine may lose half a minute, "
                "more than REWIND_SECONDS covers; everysec or always"
            )
        ]
    return []


def _of_replicas(facts: Mapping[str, str]) -> Sequence[str]:
    """Warn of a failover that loses; INFO has `min_slaves_good_slaves` only where a minimum is set.

    An old primary that is back for a moment takes, and confirms, what the new one never gets.
    """
    if int(facts.get("connected_slaves", 0)) > 0 and "min_slaves_good_slaves" not in facts:
        return [
            (
                "the broker has replicas and min-replicas-to-write is 0: in a failover an old "
                "primary may go on confirming what the new one never gets; set "
                "min-replicas-to-write 1 and min-replicas-max-lag 2"
            )
        ]
    return []
