"""Entries, heads and announcements as plain data and as bytes, for stores that keep either.

Plain data is what JSON has, and bytes: `dict`, `list`, `str`, `int`, `bool`, `None`; the `audio` of
a frame alone is bytes. Every value has its version, `v`; one of another version is refused.

As bytes a value is one line of JSON in ASCII, and behind it the audio as it is.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from application.ports.entries import Announcement
from application.ports.errors import BrokerRefused
from application.ports.store import Mark
from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.errors import DomainError
from domain.events import (
    ANEW,
    CallDetails,
    Continuation,
    EndReason,
    GoOn,
    GoOnAbove,
    Opening,
    Signal,
)
from domain.head import Access, Head, Lease, Run
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, Encoding, MediaFormat

VERSION = 1

Plain = dict[str, Any]

_T = TypeVar("_T")


class Unreadable(BrokerRefused):
    """Stored data is not what this release writes: damaged, foreign, or of another version."""


def plain_entry(entry: Entry) -> Plain:
    """Return an entry as plain data."""
    match entry:
        case AudioFrame(media, seq, received_at_ms, audio):
            told: Plain = {"seq": seq, "received_at_ms": received_at_ms, "audio": audio}
            return _tagged("audio", told | {"media": _media(media)})
        case Started(generation, run, resumed, opening):
            told = {"generation": generation, "run": run, "resumed": resumed}
            return _tagged("started", told | {"opening": _opening(opening)})
        case Gap(first_missing, missing):
            return _tagged("gap", {"first_missing": first_missing, "missing": missing})
        case SignalNoted(signal, details):
            return _tagged("signal", {"signal": signal.value, "details": details})
        case Ended(reason, ledger, recovered):
            told = {"reason": reason.value, "ledger": ledger.counters(), "recovered": recovered}
            return _tagged("ended", told)


def read_entry(plain: Mapping[str, Any]) -> Entry:
    """Return the entry that `plain_entry` made plain.

    Raises:
        Unreadable: it is something else.

    """
    return _guarded(_read_entry, plain)


def plain_head(head: Head) -> Plain:
    """Return a head as plain data."""
    told = {
        "revision": head.revision,
        "lease": [head.lease.generation, head.lease.owner, head.lease.granted_at_ms],
        "begun_at": head.begun_at,
        "run": None if head.run is None else _run(head.run),
        "account": _account(head.account),
        "first_kept": head.first_kept,
        "entries_lost": head.entries_lost,
        "account_lost": head.account_lost,
    }
    return _tagged("head", told)


def read_head(plain: Mapping[str, Any]) -> Head:
    """Return the head that `plain_head` made plain.

    Raises:
        Unreadable: it is something else.

    """
    return _guarded(_read_head, plain)


def plain_announcement(announcement: Announcement) -> Plain:
    """Return an announcement as plain data, without its cursor."""
    told = {
        "stream": _stream(announcement.stream),
        "interaction_id": str(announcement.interaction_id),
        "run": announcement.run,
        "entry": [announcement.entry.generation, announcement.entry.position],
        "has_ended": announcement.has_ended,
        "resumed": announcement.resumed,
    }
    return _tagged("announcement", told)


def read_announcement(plain: Mapping[str, Any], cursor: str) -> Announcement:
    """Return the announcement that `plain_announcement` made plain, at a place of the store's.

    Raises:
        Unreadable: it is something else.

    """
    return _guarded(lambda it: _read_announcement(it, cursor), plain)


def pack(plain: Plain) -> bytes:
    """Return plain data as bytes."""
    audio: bytes = plain.get("audio", b"")
    told = {name: value for name, value in plain.items() if name != "audio"}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n" + audio


def unpack(packed: bytes) -> Plain:
    """Return the plain data of bytes.

    Raises:
        Unreadable: `pack` has not made them.

    """
    line, newline, audio = packed.partition(b"\n")
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable("stored data is not JSON") from error
    if not newline or not isinstance(plain, dict):
        raise Unreadable("stored data is cut off, or no JSON object")
    return {**plain, "audio": audio} if plain.get("type") == "audio" else plain


def _tagged(kind: str, told: Plain) -> Plain:
    return {"v": VERSION, "type": kind} | told


def _guarded(read: Callable[[Mapping[str, Any]], _T], plain: Mapping[str, Any]) -> _T:
    version = plain.get("v") if isinstance(plain, Mapping) else None
    if version != VERSION:
        raise Unreadable(f"stored data of version {version!r}; this release reads {VERSION}")
    try:
        return read(plain)
    except KeyError as error:
        raise Unreadable(f"stored data lacks {error.args[0]!r}") from error
    except (DomainError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"stored data of type {plain.get('type')!r} is damaged") from error


def _read_entry(plain: Mapping[str, Any]) -> Entry:
    match plain["type"]:
        case "audio":
            media = _read_media(plain["media"])
            return AudioFrame(media, plain["seq"], plain["received_at_ms"], plain["audio"])
        case "started":
            opening = _read_opening(plain["opening"])
            return Started(plain["generation"], plain["run"], plain["resumed"], opening)
        case "gap":
            return Gap(plain["first_missing"], plain["missing"])
        case "signal":
            return SignalNoted(Signal(plain["signal"]), plain["details"])
        case "ended":
            ledger = Ledger(**plain["ledger"])
            return Ended(EndReason(plain["reason"]), ledger, plain["recovered"])
    raise ValueError("no entry")


def _read_head(plain: Mapping[str, Any]) -> Head:
    return Head(
        plain["revision"],
        Lease(*plain["lease"]),
        plain["begun_at"],
        None if plain["run"] is None else _read_run(plain["run"]),
        _read_account(plain["account"]),
        plain["first_kept"],
        plain["entries_lost"],
        plain["account_lost"],
    )


def _read_announcement(plain: Mapping[str, Any], cursor: str) -> Announcement:
    return Announcement(
        cursor,
        _read_stream(plain["stream"]),
        InteractionId(plain["interaction_id"]),
        plain["run"],
        Mark(*plain["entry"]),
        plain["has_ended"],
        plain["resumed"],
    )


def _media(media: MediaFormat) -> list[Any]:
    return [media.sample_rate, media.encoding.value, media.channels]


def _read_media(plain: list[Any]) -> MediaFormat:
    sample_rate, encoding, channels = plain
    return MediaFormat(sample_rate, Encoding(encoding), channels)


def _stream(stream: StreamKey) -> list[str]:
    return [str(stream.tenant_id), str(stream.stream_id)]


def _read_stream(plain: list[str]) -> StreamKey:
    tenant_id, stream_id = plain
    return StreamKey(TenantId(tenant_id), StreamId(stream_id))


def _run(run: Run) -> Plain:
    return {"name": run.name, "opening": _opening(run.opening), "access": run.access.value}


def _read_run(plain: Mapping[str, Any]) -> Run:
    return Run(plain["name"], _read_opening(plain["opening"]), Access(plain["access"]))


def _account(account: Account) -> Plain:
    return {
        "next_position": account.next_position,
        "first_seq": account.first_seq,
        "last_seq": account.last_seq,
        "ledger": account.ledger.counters(),
        "state": account.state.value,
    }


def _read_account(plain: Mapping[str, Any]) -> Account:
    return Account(
        plain["next_position"],
        plain["first_seq"],
        plain["last_seq"],
        Ledger(**plain["ledger"]),
        State(plain["state"]),
    )


def _opening(opening: Opening) -> Plain:
    call = opening.call
    return {
        "stream": _stream(opening.stream),
        "interaction_id": str(opening.interaction_id),
        "dialect": opening.dialect,
        "media": _media(opening.media),
        "started_at_ms": opening.started_at_ms,
        "continuation": _continuation(opening.continuation),
        "call": [call.call_sid, call.caller, call.callee, call.custom_parameters],
    }


def _read_opening(plain: Mapping[str, Any]) -> Opening:
    return Opening(
        _read_stream(plain["stream"]),
        InteractionId(plain["interaction_id"]),
        plain["dialect"],
        _read_media(plain["media"]),
        plain["started_at_ms"],
        _read_continuation(plain["continuation"]),
        CallDetails(*plain["call"]),
    )


def _continuation(continuation: Continuation) -> list[Any]:
    match continuation:
        case GoOnAbove(first_seq):
            return ["go_on_above", first_seq]
        case GoOn():
            return ["go_on"]
        case _:
            return ["anew"]


def _read_continuation(plain: list[Any]) -> Continuation:
    match plain:
        case ["go_on_above", first_seq]:
            return GoOnAbove(first_seq)
        case ["go_on"]:
            return GoOn()
        case ["anew"]:
            return ANEW
    raise ValueError("no continuation")
