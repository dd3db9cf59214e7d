"""Entries of a stream as consumers find them, in both directions."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from application.ports.errors import BrokerRefused
from application.ports.store import Mark
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

_SIGNALS = {signal.value.encode(): signal for signal in Signal}

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


def entry_id(mark: Mark) -> str:
    """Return the id under which the broker keeps an entry."""
    return f"{mark.generation}-{mark.position}"


def read_entry_id(found: bytes) -> Mark:
    """Read the id of an entry.

    Raises:
        ValueError: it is no such id.

    """
    generation, position = found.split(b"-")
    return Mark(int(generation), int(position))


def data_of(entry: Entry) -> tuple[str, bytes]:
    """Return type and `data` of an entry that is no audio."""
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
            raise TypeError("audio has no data")


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


def read_started(data: bytes) -> Started:
    """Read `data` of a `started` entry. Of its continuation it tells only whether it resumed.

    Raises:
        UNREADABLE: it is not one of ours.

    """
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


class EntryReader:
    """Turns the entries of one stream, in order, back into values.

    Audio takes its format from the `Started` before it; `started` is `data` of the latest one, for
    a stream whose first entries retention has left.
    """

    def __init__(self, started: bytes | None) -> None:
        self._media = None if started is None else read_started(started).opening.media

    def read(self, found_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[Mark, Entry]:
        """Return an entry and its place.

        Raises:
            BrokerRefused: the entry is not one of ours.

        """
        try:
            return read_entry_id(found_id), self._entry(fields)
        except UNREADABLE as error:
            raise BrokerRefused(f"entry {found_id!r} cannot be read") from error

    def _entry(self, fields: Mapping[bytes, bytes]) -> Entry:
        kind = fields[b"type"]
        if kind == b"audio":
            if self._media is None:
                raise ValueError("audio of unknown format")
            seq, received_at_ms = int(fields[b"seq"]), int(fields[b"received_at_ms"])
            return AudioFrame(self._media, seq, received_at_ms, fields[b"audio"])
        if kind in _SIGNALS:
            return SignalNoted(_SIGNALS[kind], fields[b"data"].decode())
        if kind == b"started":
            started = read_started(fields[b"data"])
            self._media = started.opening.media
            return started
        data = _decode(fields[b"data"])
        if kind == b"gap":
            return Gap(data["first_missing"], data["missing"])
        if kind == b"ended":
            ledger = Ledger(**data["ledger"])
            return Ended(EndReason(data["reason"]), ledger, data.get("recovered", False))
        raise ValueError("unknown type")
