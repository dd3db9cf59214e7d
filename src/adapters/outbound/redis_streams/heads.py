"""The head of a stream as a hash, in both directions.

Consumers read `started`, `generation`, `next`, `last_seq`, `state`, `ledger` and `trimmed`; the
other fields are ours. Which fields move with every append is known to `append.lua`, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from adapters.brokers.data import UNREADABLE, read_started
from adapters.outbound.redis_streams.entries import read_entry_id
from adapters.outbound.redis_streams.resp import Command
from application.ports.errors import BrokerRefused
from domain.account import Account, State
from domain.events import NEW_RUN, Continuation, NewRun, Resume, ResumeAbove
from domain.head import Access, Head, Lease, Run
from domain.ledger import Ledger

ENTRIES_LOST = "lost!"
ACCOUNT_LOST = "last!"
"""The prefix of revisions that the store makes itself; `append.lua` uses the same."""

_encode_ledger = msgspec.json.Encoder().encode
_decode_ledger = msgspec.json.Decoder(dict[str, int]).decode


def ledger_json(ledger: Ledger) -> bytes:
    """Write the ledger in the format of the hash."""
    return _encode_ledger(ledger)


def other_fields(head: Head) -> Command:
    """Return names and values of the fields that do not move with every append.

    `started` and `continuation` are not among them: see `fields_of_start`.
    """
    lease, run, account = head.lease, head.run, head.account
    return (
        "generation", lease.generation,
        "owner", lease.owner,
        "granted_at_ms", lease.granted_at_ms,
        "begun_at", head.begun_at,
        "run", "" if run is None else run.name,
        "access", "" if run is None else run.access.value,
        "state", account.state.value,
        "trimmed", head.first_kept,
        *(() if account.first_seq is None else ("first_seq", account.first_seq)),
    )  # fmt: skip


def fields_of_start(started: bytes, continuation: Continuation) -> Command:
    """Return names and values of the fields that change with each `Started`."""
    match continuation:
        case NewRun():
            told = "new_run"
        case Resume():
            told = "resume"
        case ResumeAbove(first_seq):
            told = "above" if first_seq is None else f"above {first_seq}"
    return "started", started, "continuation", told


def read_head(exists: int, fields: Mapping[bytes, bytes], info: Sequence[Any]) -> Head | None:
    """Read a head from the reply of `append.lua`; None if there is none.

    Raises:
        BrokerRefused: it is not one of ours.

    """
    try:
        if b"revision" in fields:
            head = _read(fields)
            if exists:
                return head
            return replace(head, revision=ENTRIES_LOST + head.revision, entries_lost=True)
        return _of_entries(info) if exists else None
    except UNREADABLE as error:
        raise BrokerRefused("the head of a stream cannot be read") from error


def _read(fields: Mapping[bytes, bytes]) -> Head:
    first_seq, last_seq = fields.get(b"first_seq"), fields.get(b"last_seq")
    return Head(
        revision=fields[b"revision"].decode(),
        lease=Lease(
            int(fields[b"generation"]), fields[b"owner"].decode(), int(fields[b"granted_at_ms"])
        ),
        begun_at=int(fields[b"begun_at"]),
        run=_read_run(fields),
        account=Account(
            int(fields[b"next"]),
            None if first_seq is None else int(first_seq),
            None if last_seq is None else int(last_seq),
            Ledger(**_decode_ledger(fields[b"ledger"])),
            State(fields[b"state"].decode()),
        ),
        first_kept=int(fields[b"trimmed"]),
    )


def _read_run(fields: Mapping[bytes, bytes]) -> Run | None:
    if not fields[b"access"]:
        return None
    opening = read_started(fields[b"started"]).opening
    continuation = _read_continuation(fields[b"continuation"].decode())
    return Run(
        fields[b"run"].decode(),
        replace(opening, continuation=continuation),
        Access(fields[b"access"].decode()),
    )


def _read_continuation(told: str) -> Continuation:
    if told == "new_run":
        return NEW_RUN
    if told == "resume":
        return Resume()
    _, _, first_seq = told.partition(" ")
    return ResumeAbove(int(first_seq) if first_seq else None)


def _of_entries(info: Sequence[Any]) -> Head:
    """Derive the head of a stream that has only entries."""
    told = dict(zip(info[::2], info[1::2], strict=True))
    last_id, first = told[b"last-generated-id"], told[b"first-entry"]
    last = read_entry_id(last_id)
    return Head(
        revision=ACCOUNT_LOST + last_id.decode(),
        lease=Lease(last.generation, "", 0),
        begun_at=0,
        run=None,
        account=Account(last.position + 1),
        first_kept=read_entry_id(first[0]).position if first else last.position + 1,
        account_lost=True,
    )
