"""Entries as consumers find them in a message: a row of facts, and data behind the line of JSON."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from application.ports.reader import PublishedEntry
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.errors import DomainError
from domain.events import ANEW, CallDetails, EndReason, GoOn, Opening, Signal
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, Encoding, MediaFormat

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_SIGNALS = {signal.value: signal for signal in Signal}

UNREADABLE = (
    DomainError,
    msgspec.MsgspecError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Errors of reading what another program has written."""


def written(published: PublishedEntry) -> tuple[bytes, bytes]:
    """Return an entry as a row of the line of JSON, and its data."""
    entry, place = published.entry, (published.generation, published.position)
    if type(entry) is AudioFrame:
        audio = entry.audio
        facts = (*place, entry.seq, entry.received_at_ms, len(audio))
        return (
            b'{"id":"%d-%d","type":"audio","seq":%d,"received_at_ms":%d,"bytes":%d}' % facts,
            audio,
        )
    kind, data = data_of(entry)
    row = b'{"id":"%d-%d","type":"%b","bytes":%d}' % (*place, kind.encode(), len(data))
    return row, data


def data_of(entry: Entry) -> tuple[str, bytes]:
    """Return type and data of an entry that is no audio."""
    match entry:
        case SignalNoted(signal, details):
            return signal.value, details.encode()
        case Gap(first_missing, missing):
            return "gap", _encode({"first_missing": first_missing, "missing": missing})
        case Started():
            return "started", _started(entry)
        case Ended(reason, ledger, recovered):
            ended: dict[str, Any] = {"reason": reason.value, "ledger": ledger.counters()}
            if recovered:
                ended["recovered"] = True
            return "ended", _encode(ended)
        case AudioFrame():
            raise TypeError("audio is its own data")


def read_rows(
    rows: list[Mapping[str, Any]], data: memoryview, media: MediaFormat | None
) -> list[PublishedEntry]:
    """Read the entries of a message; `media` is that of audio without a `started` in front of it.

    Raises:
        UNREADABLE: they are not ours.

    """
    found, start = [], 0
    for row in rows:
        generation, position = map(int, row["id"].split("-"))
        end = start + row["bytes"]
        if end > len(data):
            raise ValueError("the message is cut off")
        entry = _read(row, bytes(data[start:end]), media)
        if isinstance(entry, Started):
            media = entry.opening.media
        found.append(PublishedEntry(generation, position, entry))
        start = end
    return found


def _read(row: Mapping[str, Any], data: bytes, media: MediaFormat | None) -> Entry:
    kind = row["type"]
    if kind == "audio":
        if media is None:
            raise ValueError("audio of unknown format")
        return AudioFrame(media, row["seq"], row["received_at_ms"], data)
    if kind in _SIGNALS:
        return SignalNoted(_SIGNALS[kind], data.decode())
    if kind == "started":
        return _read_started(data)
    told = _decode(data)
    if kind == "gap":
        return Gap(told["first_missing"], told["missing"])
    if kind == "ended":
        ledger = Ledger(**told["ledger"])
        return Ended(EndReason(told["reason"]), ledger, told.get("recovered", False))
    raise ValueError("unknown type")


def _started(started: Started) -> bytes:
    opening, call = started.opening, started.opening.call
    started_at = _EPOCH + opening.started_at_ms * _MILLISECOND
    return _encode(
        {
            "tenant_id": str(opening.stream.tenant_id),
            "interaction_id": str(opening.interaction_id),
            "stream_id": str(opening.stream.stream_id),
            "track": opening.track,
            "run": started.run,
            "dialect": opening.dialect,
            "generation": started.generation,
            "resumed": started.resumed,
            "sample_rate": opening.media.sample_rate,
            "encoding": opening.media.encoding.value,
            "channels": opening.media.channels,
            "call_sid": call.call_sid,
            "from": call.caller,
            "to": call.callee,
            "custom_parameters": call.custom_parameters,
            "started_at": started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
    )


def _read_started(data: bytes) -> Started:
    """Read `data` of a `started`. Of its continuation it tells only whether it resumed."""
    found = _decode(data)
    started_at = datetime.fromisoformat(found["started_at"]) - _EPOCH
    opening = Opening(
        stream=StreamKey(TenantId(found["tenant_id"]), StreamId(found["stream_id"])),
        interaction_id=InteractionId(found["interaction_id"]),
        dialect=found["dialect"],
        media=MediaFormat(found["sample_rate"], Encoding(found["encoding"]), found["channels"]),
        started_at_ms=started_at // _MILLISECOND,
        continuation=GoOn() if found["resumed"] else ANEW,
        call=CallDetails(found["call_sid"], found["from"], found["to"], found["custom_parameters"]),
        track=found["track"],
    )
    return Started(found["generation"], found["run"], found["resumed"], opening)
