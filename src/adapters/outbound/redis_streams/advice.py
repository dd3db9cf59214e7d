"""Advice for the operator about the broker behind `REDIS_URL`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.failures import CLUSTER, translate
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Reply
from adapters.outbound.redis_streams.target import Kind
from application.ports.errors import BrokerUnavailable

ANSWER_SECONDS = 4.0

_SECTIONS = ("memory", "persistence", "replication", "cluster")
_SETTINGS = ("appendfsync", "no-appendfsync-on-rewrite", "save", "cluster-node-timeout")
_QUESTIONS: tuple[Command, ...] = (
    *(("INFO", section) for section in _SECTIONS),
    *(("CONFIG", "GET", setting) for setting in _SETTINGS),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The expected load: `expected_bytes` is the maximum that the broker may have to store."""

    kind: Kind
    confirm: Confirm
    rewind_seconds: float
    expected_bytes: int


async def advice(link: Link, asked: Asked) -> Sequence[str]:
    """Return warnings; settings that a managed broker hides are skipped, with a warning.

    Raises:
        PublisherError: a server was not reached.

    """
    await link.learn()
    parts = link.parts()
    found = [await _ask(link, part) for part in parts]
    warnings = [
        *(line for part in found for line in _of_part(part, asked, len(parts))),
        *_of_time_outs(link.down_after_seconds, "down-after-milliseconds", asked),
    ]
    return list(dict.fromkeys(warnings))


async def _ask(link: Link, part: str) -> Sequence[Reply]:
    """Ask a server; the time limit does not include the connection."""
    await link.run_at(part, [("PING",)])
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await link.run_at(part, _QUESTIONS)
    except TimeoutError as error:
        raise BrokerUnavailable(f"no answer within {ANSWER_SECONDS:g} s") from error


def _of_part(replies: Sequence[Reply], asked: Asked, parts: int) -> Sequence[str]:
    facts: dict[str, str] = {}
    for reply in replies[: len(_SECTIONS)]:
        facts |= _section(reply)
    for reply in replies[len(_SECTIONS) :]:
        facts |= _setting(reply)
    warnings = [
        *_untold(replies[0]),
        *_of_role(facts),
        *_of_memory(facts, asked.expected_bytes // parts),
        *_of_disk(facts),
    ]
    if asked.kind is Kind.CLUSTER:
        time_out = facts.get("cluster-node-timeout")
        seconds = None if time_out is None else int(time_out) / 1_000
        warnings += _of_time_outs(seconds, "cluster-node-timeout", asked)
    elif facts.get("cluster_enabled") == "1":
        warnings.append(f"cluster_enabled is 1: {CLUSTER}")
    if asked.confirm is not Confirm.REPLICA:
        warnings += _of_replicas(facts)
    return warnings


def _of_time_outs(seconds: float | None, setting: str, asked: Asked) -> Sequence[str]:
    """Warn if a failover may take longer than confirmed entries are retained."""
    if seconds is None or seconds < asked.rewind_seconds or asked.confirm is Confirm.REPLICA:
        return []
    return [
        (
            f"the broker's {setting} of {seconds:g} s is not below REWIND_SECONDS "
            f"({asked.rewind_seconds:g} s): a primary that is cut off confirms for so "
            "long, and what it confirmed earlier than REWIND_SECONDS ago is not replayed"
        )
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
    if not isinstance(reply, ErrorReply):
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
                "acknowledged audio with it; only what REWIND_SECONDS covers is replayed"
            )
        ]
    if facts.get("appendfsync") == "no":
        return [
            (
                "the broker's appendfsync is no: a crash of its machine may lose half a minute, "
                "more than REWIND_SECONDS covers; everysec or always"
            )
        ]
    if facts.get("no-appendfsync-on-rewrite") == "yes":
        return [
            (
                "the broker's no-appendfsync-on-rewrite is yes: a crash of its machine while it "
                "saves or rewrites its file may lose half a minute, more than REWIND_SECONDS "
                "covers; set it to no"
            )
        ]
    return []


def _of_role(facts: Mapping[str, str]) -> Sequence[str]:
    """Warn of a replica that takes writes: one that takes none is refused anyway."""
    if facts.get("role") == "slave":
        return [
            (
                "the broker is a replica, which takes writes if its replica-read-only is no: they "
                "are lost when its primary sends it everything; REDIS_URL must name the primary"
            )
        ]
    return []


def _of_replicas(facts: Mapping[str, str]) -> Sequence[str]:
    """Warn of a failover that loses; INFO has `min_slaves_good_slaves` only where a minimum is set.

    An old primary that is back for a moment confirms entries that the new one never gets.
    """
    if int(facts.get("connected_slaves", 0)) > 0 and "min_slaves_good_slaves" not in facts:
        return [
            (
                "the broker has replicas and min-replicas-to-write is 0: in a failover an old "
                "primary may confirm what the new one never gets; set "
                "min-replicas-to-write 1 and min-replicas-max-lag 2"
            )
        ]
    return []
