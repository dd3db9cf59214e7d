"""Entries, heads and announcements as plain data, for stores that keep it directly or as bytes.

Plain data is JSON's types: `dict`, `list`, `str`, `int`, `bool`, `None`. Only the `audio` of a
frame is bytes. Every value has a version, `v`; another version is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from application.ports.errors import Unreadable
from application.ports.reader import Announcement, PublishedEntry
from application.store_kit.codec_values import (
    Plain,
    plain_account,
    plain_media,
    plain_opening,
    plain_run,
    plain_stream,
    read_account,
    read_media,
    read_opening,
    read_run,
    read_stream,
)
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.errors import DomainError
from domain.events import (
    EndReason,
    Signal,
)
from domain.head import Head, Lease
from domain.identifiers import InteractionId, StreamKey
from domain.ledger import Ledger
from domain.media import AudioFrame

VERSION = 1

_T = TypeVar("_T")


def plain_entry(entry: Entry) -> Plain:
    """Return an entry as plain data."""
    match entry:
        case AudioFrame(media, seq, received_at_ms, audio):
            told: Plain = {"seq": seq, "received_at_ms": received_at_ms, "audio": audio}
            return _tagged("audio", told | {"media": plain_media(media)})
        case Started(generation, run, resumed, opening):
            told = {"generation": generation, "run": run, "resumed": resumed}
            return _tagged("started", told | {"opening": plain_opening(opening)})
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


def plain_published(published: PublishedEntry) -> Plain:
    """Return an entry with its position as plain data."""
    place = {"place": [published.generation, published.position]}
    return plain_entry(published.entry) | place


def read_published(plain: Mapping[str, Any]) -> PublishedEntry:
    """Return the entry that `plain_published` made plain.

    Raises:
        Unreadable: it is something else.

    """
    return _guarded(_read_published, plain)


def plain_head(head: Head) -> Plain:
    """Return a head as plain data."""
    told = {
        "revision": head.revision,
        "lease": [head.lease.generation, head.lease.owner, head.lease.granted_at_ms],
        "begun_at": head.begun_at,
        "run": None if head.run is None else plain_run(head.run),
        "account": plain_account(head.account),
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
        "event_id": announcement.event_id,
        "has_ended": announcement.has_ended,
        "stream": plain_stream(announcement.stream),
        "interaction_id": str(announcement.interaction_id),
        "generation": announcement.generation,
        "position": announcement.position,
        "run": announcement.run,
        "resumed": announcement.resumed,
    }
    return _tagged("announcement", told)


def read_announcement(plain: Mapping[str, Any], cursor: str) -> Announcement:
    """Return the announcement that `plain_announcement` made plain, with the store's cursor.

    Raises:
        Unreadable: it is something else.

    """
    return _guarded(lambda it: _read_announcement(it, cursor), plain)


def read_stream_key(name: str) -> StreamKey:
    """Return the stream whose name is `str(stream)`.

    Raises:
        Unreadable: it is none.

    """
    tenant_id, _, stream_id = name.partition("/")
    return _guarded(lambda _: read_stream([tenant_id, stream_id]), {"v": VERSION})


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
            media = read_media(plain["media"])
            return AudioFrame(media, plain["seq"], plain["received_at_ms"], plain["audio"])
        case "started":
            opening = read_opening(plain["opening"])
            return Started(plain["generation"], plain["run"], plain["resumed"], opening)
        case "gap":
            return Gap(plain["first_missing"], plain["missing"])
        case "signal":
            return SignalNoted(Signal(plain["signal"]), plain["details"])
        case "ended":
            ledger = Ledger(**plain["ledger"])
            return Ended(EndReason(plain["reason"]), ledger, plain["recovered"])
    raise ValueError("no entry")


def _read_published(plain: Mapping[str, Any]) -> PublishedEntry:
    generation, position = plain["place"]
    return PublishedEntry(generation, position, _read_entry(plain))


def _read_head(plain: Mapping[str, Any]) -> Head:
    return Head(
        plain["revision"],
        Lease(*plain["lease"]),
        plain["begun_at"],
        None if plain["run"] is None else read_run(plain["run"]),
        read_account(plain["account"]),
        plain["first_kept"],
        plain["entries_lost"],
        plain["account_lost"],
    )


def _read_announcement(plain: Mapping[str, Any], cursor: str) -> Announcement:
    return Announcement(
        cursor,
        plain["event_id"],
        plain["has_ended"],
        read_stream(plain["stream"]),
        InteractionId(plain["interaction_id"]),
        plain["generation"],
        plain["position"],
        plain["run"],
        plain["resumed"],
    )
