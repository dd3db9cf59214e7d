"""The parts of entries and heads as plain data. Reading raises the errors of wrong values."""

from collections.abc import Mapping
from typing import Any

from domain.account import Account, State
from domain.events import NEW_RUN, CallDetails, Continuation, Opening, Resume, ResumeAbove
from domain.head import Access, Run
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import Encoding, MediaFormat
from domain.trace_parent import TraceParent

Plain = dict[str, Any]


def plain_media(media: MediaFormat) -> list[Any]:
    """Write a media format."""
    return [media.sample_rate, media.encoding.value, media.channels]


def read_media(plain: list[Any]) -> MediaFormat:
    """Read a media format."""
    sample_rate, encoding, channels = plain
    return MediaFormat(sample_rate, Encoding(encoding), channels)


def plain_stream(stream: StreamKey) -> list[str]:
    """Write a stream key."""
    return [str(stream.tenant_id), str(stream.stream_id)]


def read_stream(plain: list[str]) -> StreamKey:
    """Read a stream key."""
    tenant_id, stream_id = plain
    return StreamKey(TenantId(tenant_id), StreamId(stream_id))


def plain_run(run: Run) -> Plain:
    """Write a run."""
    return {"name": run.name, "opening": plain_opening(run.opening), "access": run.access.value}


def read_run(plain: Mapping[str, Any]) -> Run:
    """Read a run."""
    return Run(plain["name"], read_opening(plain["opening"]), Access(plain["access"]))


def plain_account(account: Account) -> Plain:
    """Write an account."""
    return {
        "next_position": account.next_position,
        "first_seq": account.first_seq,
        "last_seq": account.last_seq,
        "ledger": account.ledger.counters(),
        "state": account.state.value,
    }


def read_account(plain: Mapping[str, Any]) -> Account:
    """Read an account."""
    return Account(
        plain["next_position"],
        plain["first_seq"],
        plain["last_seq"],
        Ledger(**plain["ledger"]),
        State(plain["state"]),
    )


def plain_opening(opening: Opening) -> Plain:
    """Write an opening."""
    call = opening.call
    return {
        "stream": plain_stream(opening.stream),
        "interaction_id": str(opening.interaction_id),
        "dialect": opening.dialect,
        "media": plain_media(opening.media),
        "started_at_ms": opening.started_at_ms,
        "continuation": _continuation(opening.continuation),
        "call": [call.call_sid, call.caller, call.callee, call.custom_parameters],
        "track": opening.track,
        "traceparent": None if opening.traceparent is None else str(opening.traceparent),
    }


def read_opening(plain: Mapping[str, Any]) -> Opening:
    """Read an opening."""
    return Opening(
        read_stream(plain["stream"]),
        InteractionId(plain["interaction_id"]),
        plain["dialect"],
        read_media(plain["media"]),
        plain["started_at_ms"],
        _read_continuation(plain["continuation"]),
        CallDetails(*plain["call"]),
        plain["track"],
        None if plain["traceparent"] is None else TraceParent.read(plain["traceparent"]),
    )


def _continuation(continuation: Continuation) -> list[Any]:
    match continuation:
        case ResumeAbove(first_seq):
            return ["resume_above", first_seq]
        case Resume():
            return ["resume"]
        case _:
            return ["new_run"]


def _read_continuation(plain: list[Any]) -> Continuation:
    match plain:
        case ["resume_above", first_seq]:
            return ResumeAbove(first_seq)
        case ["resume"]:
            return Resume()
        case ["new_run"]:
            return NEW_RUN
    raise ValueError("no continuation")
