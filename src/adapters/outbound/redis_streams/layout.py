"""Keys and entries as consumers find them, in both directions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.outbound.redis_streams.resp import Parts, add_audio, pack_arguments
from application.ports.errors import BrokerRefused
from application.ports.reader import Announcement
from domain.account import Account, State
from domain.errors import DomainError
from domain.events import (
    ANEW,
    Anew,
    AudioAccepted,
    CallDetails,
    Continuation,
    EndReason,
    Event,
    GapDetected,
    GoOn,
    GoOnAbove,
    InteractionEnded,
    InteractionStarted,
    Opening,
    Signal,
    SignalReceived,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, Encoding, MediaFormat

INDEX_ENTRIES = 100_000
"""Starts and ends that the index keeps at least, some 20 MB: a day at a call every two seconds."""


def stream_key(prefix: str, stream: StreamKey) -> str:
    """Key of the stream's entries. The inner braces put both keys in one cluster slot."""
    return f"{prefix}:audio:{{{stream}}}"


def facts_key(prefix: str, stream: StreamKey) -> str:
    """Key of the hash beside it."""
    return f"{prefix}:interaction:{{{stream}}}"


def given_up_key(prefix: str, stream: StreamKey, owner: str) -> str:
    """Key that exists when an owner has given up its start, in the slot of the other two."""
    return f"{prefix}:given-up:{{{stream}}}:{owner}"


def index_key(prefix: str) -> str:
    """Key of the stream of all starts and ends."""
    return f"{prefix}:interactions"


def open_key(prefix: str) -> str:
    """Key of the sorted set of streams whose runs are open, by when they were last tended."""
    return f"{prefix}:open"


def tend_nobody(beats: str) -> tuple[str, str, str, int, str]:
    """Write into the sorted set of `open_key` like whoever tends, and change nothing."""
    return "ZADD", beats, "XX", 1, "nobody"


def probe_keys(prefix: str) -> tuple[str, str, str]:
    """Keys of a stream, facts and beats that are nobody's, in one slot."""
    return (
        f"{prefix}:{{writable}}:stream",
        f"{prefix}:{{writable}}:facts",
        f"{prefix}:{{writable}}:beats",
    )


def opening_json(opening: Opening) -> bytes:
    """Write `data` of a `started` entry, without generation, run, resumed and the closing brace."""
    started_at = datetime.fromtimestamp(opening.started_at_ms / 1000, UTC)
    return msgspec.json.encode(
        {
            "tenant_id": str(opening.stream.tenant_id),
            "interaction_id": str(opening.interaction_id),
            "stream_id": str(opening.stream.stream_id),
            "track": None,
            "dialect": opening.dialect,
            "sample_rate": opening.media.sample_rate,
            "encoding": opening.media.encoding.value,
            "channels": opening.media.channels,
            "call_sid": opening.call.call_sid,
            "from": opening.call.caller,
            "to": opening.call.callee,
            "custom_parameters": opening.call.custom_parameters,
            "started_at": started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
    )[:-1]


def format_name(media: MediaFormat) -> str:
    """Name the format by which a run is known to go on."""
    return f"{media.encoding}/{media.sample_rate}/{media.channels}"


def continuation_arguments(continuation: Continuation) -> tuple[str, int | str]:
    """Write the continuation and the sender's first seq, as `begin.lua` takes them."""
    match continuation:
        case Anew():
            return "anew", ""
        case GoOn():
            return "go_on", ""
        case GoOnAbove(first_seq):
            return ("undecided", "") if first_seq is None else ("above", first_seq)


ENTRY_ARGUMENTS = 4
"""Type, seq, received_at_ms, and audio or data, as `append.lua` takes them for each entry."""


def add_entry(parts: Parts, event: Event) -> None:
    """Write an entry as `append.lua` takes it; the second and third are empty where not audio."""
    if type(event) is AudioAccepted:
        frame = event.frame
        add_audio(parts, frame.seq, frame.received_at_ms, frame.audio)
    else:
        parts.append(pack_arguments(_arguments(event)))


def _arguments(event: Event) -> tuple[str, str, str, bytes]:
    if isinstance(event, GapDetected):
        gap = {"first_missing": event.first_missing, "missing": event.missing}
        return "gap", "", "", msgspec.json.encode(gap)
    if isinstance(event, SignalReceived):
        return event.signal.value, "", "", event.details.encode()
    if isinstance(event, InteractionEnded):
        ended: dict[str, Any] = {"reason": event.reason.value, "ledger": event.ledger.counters()}
        if event.recovered:
            ended["recovered"] = True
        return "ended", "", "", msgspec.json.encode(ended)
    raise TypeError(f"{type(event).__name__} is published by begin, not by append")


def ledger_json(ledger: Ledger) -> bytes:
    """Write the ledger as it stands in the hash."""
    return _encode(ledger)


_encode = msgspec.json.Encoder().encode

_SIGNALS = {signal.value.encode(): signal for signal in Signal}

_NOT_OURS = (
    DomainError,
    msgspec.MsgspecError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""What reading an entry can raise when somebody else wrote it."""


class EntryReader:
    """Turns the entries of one stream, in order, back into events.

    Audio takes its format from the start before it; `started` is the JSON of the latest start, for
    a stream whose first entries retention has forgotten.
    """

    def __init__(self, started: bytes | None) -> None:
        self._media = None if started is None else _read_opening(started)[0].media

    def read(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[int, Event]:
        """Return the generation and the event of one entry.

        Raises:
            BrokerRefused: the entry is not one of ours.

        """
        try:
            generation, position = (int(part) for part in entry_id.split(b"-"))
            return generation, self._event(position, fields)
        except _NOT_OURS as error:
            raise BrokerRefused(f"entry {entry_id!r} cannot be read") from error

    def _event(self, position: int, fields: Mapping[bytes, bytes]) -> Event:
        kind = fields[b"type"]
        if kind == b"audio":
            if self._media is None:
                raise ValueError("audio of unknown format")
            seq, received_at_ms = int(fields[b"seq"]), int(fields[b"received_at_ms"])
            frame = AudioFrame(self._media, seq, received_at_ms, fields[b"audio"])
            return AudioAccepted(position, frame)
        if kind == b"started":
            opening, generation, run = _read_opening(fields[b"data"])
            self._media = opening.media
            resumed = isinstance(opening.continuation, GoOn)
            return InteractionStarted(position, generation, resumed, opening, run)
        if kind in _SIGNALS:
            return SignalReceived(position, _SIGNALS[kind], fields[b"data"].decode())
        data = msgspec.json.decode(fields[b"data"])
        if kind == b"gap":
            return GapDetected(position, data["first_missing"], data["missing"])
        if kind == b"ended":
            ledger = Ledger(**data["ledger"])
            recovered = data.get("recovered", False)
            return InteractionEnded(position, EndReason(data["reason"]), ledger, recovered)
        raise ValueError("unknown type")


def entry_id(generation: int, position: int) -> str:
    """Write the id of a stream's entry."""
    return f"{generation}-{position}"


def event_id(stream: StreamKey, generation: int, position: int) -> str:
    """Name a start or end; the same when it is announced again."""
    return f"{stream}/{entry_id(generation, position)}"


def announcement(
    prefix: str,
    stream: StreamKey,
    interaction_id: InteractionId,
    generation: int,
    position: int,
    *,
    run: str,
    resumed: bool,
    has_ended: bool,
) -> tuple[str | int, ...]:
    """Write the command that adds an entry to the index."""
    fields: dict[str, str | int] = {
        "type": "ended" if has_ended else "started",
        "tenant_id": stream.tenant_id,
        "interaction_id": interaction_id,
        "stream_id": stream.stream_id,
        "generation": generation,
        "run": run,
        "resumed": int(resumed),
        "entry": entry_id(generation, position),
        "key": stream_key(prefix, stream),
        "event_id": event_id(stream, generation, position),
    }
    flat = [part for name, value in fields.items() for part in (name, value)]
    return "XADD", index_key(prefix), "MAXLEN", "~", INDEX_ENTRIES, "*", *flat


def read_announcement(cursor: bytes, fields: Mapping[bytes, bytes]) -> Announcement:
    """Read an entry of the index.

    Raises:
        BrokerRefused: the entry is not one of ours.

    """
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        generation, position = (int(part) for part in text["entry"].split("-"))
        return Announcement(
            cursor=cursor.decode(),
            event_id=text["event_id"],
            has_ended=text["type"] == "ended",
            stream=StreamKey(TenantId(text["tenant_id"]), StreamId(text["stream_id"])),
            interaction_id=InteractionId(text["interaction_id"]),
            generation=generation,
            position=position,
            run=text["run"],
            resumed=text["resumed"] == "1",
        )
    except _NOT_OURS as error:
        raise BrokerRefused(f"index entry {cursor!r} cannot be read") from error


def read_account(
    next_position: bytes | None,
    first_seq: bytes | None,
    last_seq: bytes | None,
    ledger: bytes | None,
    state: bytes = b"live",
) -> Account:
    """Read an account from fields of the hash; absent ones may be None or empty."""
    return Account(
        int(next_position or 0),
        int(first_seq) if first_seq else None,
        int(last_seq) if last_seq else None,
        Ledger(**msgspec.json.decode(ledger)) if ledger else Ledger(),
        State(state.decode()),
    )


def _read_opening(started: bytes) -> tuple[Opening, int, str]:
    """Read `data` of a `started` entry: the opening, the generation and the name of the run."""
    data = msgspec.json.decode(started)
    opening = Opening(
        stream=StreamKey(TenantId(data["tenant_id"]), StreamId(data["stream_id"])),
        interaction_id=InteractionId(data["interaction_id"]),
        dialect=data["dialect"],
        media=MediaFormat(data["sample_rate"], Encoding(data["encoding"]), data["channels"]),
        started_at_ms=round(datetime.fromisoformat(data["started_at"]).timestamp() * 1000),
        continuation=GoOn() if data["resumed"] else ANEW,
        call=CallDetails(data["call_sid"], data["from"], data["to"], data["custom_parameters"]),
    )
    return opening, data["generation"], data["run"]
