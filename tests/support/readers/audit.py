"""Audits every stream that is stored now, without knowing what was sent.

Read with plain redis-py from the nodes that serve it now: after a failover that is what is true.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from history import ENDED, POSITION, RUN, Defect, Entry, SentRun, digest, report
from history_judge import judge_ids, judge_run
from history_runs import PublishedRun, split_into_runs
from published import entries_at
from valkey_node import ValkeyNode

PAGE = 1_000


@dataclass(frozen=True)
class AuditedRun:
    """What is stored of a run: from a `started` that does not resume to its `ended`."""

    run: str
    generations: tuple[int, ...]
    seqs: tuple[int, ...]
    payload_bytes: int
    ended: dict[str, Any] | None


@dataclass(frozen=True)
class AuditedStream:
    """What is stored of a stream, and all that is wrong with it."""

    name: str
    node: ValkeyNode
    trimmed: int
    next: int
    runs: tuple[AuditedRun, ...]
    defects: list[Defect] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(len(run.seqs) for run in self.runs)

    @property
    def payload_bytes(self) -> int:
        return sum(run.payload_bytes for run in self.runs)


def audit(
    nodes: Iterable[ValkeyNode], prefix: str = "rtaa", *, are_over: bool = True
) -> dict[str, AuditedStream]:
    """Return all streams, by TENANT/STREAM, of the nodes: those that are master now.

    In each, positions are dense from `trimmed` to `next`; each run has one `started` that does not
    resume and, where `are_over`, one `ended`; seqs increase, and what is missing is declared; the
    ledger counts what is stored. What is not so is among the `defects`.
    """
    found: dict[str, AuditedStream] = {}
    for node in nodes:
        with node.client() as client:
            for key in client.scan_iter(match=f"{prefix}:audio:*", count=PAGE):
                stream = _audit_stream(node, client, key, prefix, are_over=are_over)
                if other := found.get(stream.name):
                    where = f"at {other.node} and at {node}"
                    stream.defects.append(Defect(POSITION, stream.name, where))
                found[stream.name] = stream
    return found


def audit_clean(
    nodes: Iterable[ValkeyNode], prefix: str = "rtaa", *, are_over: bool = True
) -> dict[str, AuditedStream]:
    """Audit, and fail with a report of what is wrong."""
    found = audit(nodes, prefix, are_over=are_over)
    defects = [defect for stream in found.values() for defect in stream.defects]
    assert not defects, report(defects)
    return found


def _audit_stream(
    node: ValkeyNode, client: redis.Redis, key: bytes, prefix: str, *, are_over: bool
) -> AuditedStream:
    name = key.decode().removeprefix(f"{prefix}:audio:{{").removesuffix("}")
    facts: Any = client.hgetall(f"{prefix}:interaction:{{{name}}}")
    trimmed, following = int(facts.get(b"trimmed", 0)), int(facts.get(b"next", -1))
    entries = [it for it in entries_at(client, key) if _position(it) >= trimmed]
    defects = judge_ids(name, entries, was_lost=False, first=trimmed)
    end = _position(entries[-1]) + 1 if entries else trimmed
    if following != end:
        defects.append(Defect(POSITION, name, f"the hash says next {following}, not {end}"))
    head, rest = _split_off_trimmed(entries) if trimmed else (None, entries)
    runs, stray = split_into_runs(name, rest)
    defects += stray
    for number, run in enumerate(runs):
        defects += _judge(f"{name} run {number}", run, is_over=are_over or run is not runs[-1])
    runs = runs if head is None else [head, *runs]
    if not runs:
        defects.append(Defect(RUN, name, "no run"))
    elif head is not None and head.ended is None and (are_over or head is not runs[-1]):
        defects.append(Defect(ENDED, name, "never, the run whose start is trimmed"))
    return AuditedStream(name, node, trimmed, end, tuple(map(_audited, runs)), defects)


def _position(entry: Entry) -> int:
    return int(entry[0].split("-")[1])


def _split_off_trimmed(entries: Sequence[Entry]) -> tuple[PublishedRun | None, Sequence[Entry]]:
    """Return the run whose start is trimmed, if there is one, and the rest."""
    head = PublishedRun()
    for number, (entry_id, entry) in enumerate(entries):
        begins = entry["type"] == "started" and not entry["data"]["resumed"]
        if begins or head.ended is not None:
            return (head if number else None), entries[number:]
        head.add(entry_id, entry)
    return (head if entries else None), []


def _judge(where: str, run: PublishedRun, *, is_over: bool) -> list[Defect]:
    """Judge a run by itself: whatever is stored of it is taken for what was sent."""
    sent = SentRun(is_over=is_over)
    for entry_id, entry in run.entries:
        if entry["type"] == "audio":
            sent.digests.setdefault(int(entry["seq"]), digest(entry["audio"]))
            sent.first_sent_on.setdefault(int(entry["seq"]), int(entry_id.split("-")[0]))
    if run.ended is not None:
        sent.times_sent = run.ended["ledger"]["received"]
    return judge_run(where, sent, run, was_lost=False)


def _audited(run: PublishedRun) -> AuditedRun:
    frames = [entry for _, entry in run.entries if entry["type"] == "audio"]
    started = [entry["data"] for _, entry in run.entries if entry["type"] == "started"]
    return AuditedRun(
        run=started[0]["run"] if started else "",
        generations=tuple(sorted(run.generations)),
        seqs=tuple(int(entry["seq"]) for entry in frames),
        payload_bytes=sum(len(entry["audio"]) for entry in frames),
        ended=run.ended,
    )
