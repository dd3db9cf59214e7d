"""The published data of entries, the same at every broker, in both directions.

The data of audio is the audio, of a signal its details, of all other entries JSON.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.errors import DomainError
from domain.events import NEW_RUN, CallDetails, EndReason, Opening, Resume, Signal
from domain.identifiers import PATTERN, InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import NOTHING, Ledger
from domain.media import AudioFrame, Encoding, MediaFormat
from domain.trace_parent import PATTERN as TRACE_PARENT
from domain.trace_parent import TraceParent

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_COUNTERS = msgspec.Meta(extra_json_schema={"required": list(NOTHING.counters())})

Identifier = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{PATTERN}$"})]
Count = Annotated[int, msgspec.Meta(ge=0)]


class StartedData(msgspec.Struct):
    """A generation of a run starts; `run` is the same in all of them.

    `traceparent` (W3C Trace Context) is there if the call belongs to a trace.
    """

    tenant_id: Identifier
    interaction_id: Identifier
    stream_id: Identifier
    track: str | None
    run: str
    dialect: str
    generation: Count
    resumed: bool
    sample_rate: int
    encoding: Encoding
    channels: int
    call_sid: str | None
    from_: str | None = msgspec.field(name="from")
    to: str | None
    custom_parameters: Mapping[str, str]
    started_at: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
    traceparent: (
        Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{TRACE_PARENT}$"})]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class GapData(msgspec.Struct):
    """`missing` seqs from the first one on are not published."""

    first_missing: Count
    missing: Count


class EndedData(msgspec.Struct, omit_defaults=True):
    """The run is over: received = published + duplicate + rejected + lost."""

    reason: EndReason
    ledger: Annotated[dict[str, int], _COUNTERS]
    recovered: bool = False


SIGNAL_DATA: Mapping[str, Any] = {"type": "object"}
"""The schema of a signal's details."""

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
"""Errors of reading data that another program has written."""


def data_of(entry: Entry) -> tuple[str, bytes]:
    """Return type and data of an entry other than audio."""
    match entry:
        case SignalNoted(signal, details):
            return signal.value, details.encode()
        case Gap(first_missing, missing):
            return "gap", _encode(GapData(first_missing, missing))
        case Started():
            return "started", _started(entry)
        case Ended(reason, ledger, recovered):
            return "ended", _encode(EndedData(reason, ledger.counters(), recovered))
        case AudioFrame():
            raise TypeError("audio is its own data")


def read_data(kind: str, data: bytes) -> Entry:
    """Read an entry other than audio from its type and data.

    Raises:
        UNREADABLE: it is not one of ours.

    """
    if kind in _SIGNALS:
        return SignalNoted(_SIGNALS[kind], data.decode())
    if kind == "started":
        return read_started(data)
    told = _decode(data)
    if kind == "gap":
        return Gap(told["first_missing"], told["missing"])
    if kind == "ended":
        ledger = Ledger(**told["ledger"])
        return Ended(EndReason(told["reason"]), ledger, told.get("recovered", False))
    raise ValueError("unknown type")


def read_started(data: bytes) -> Started:
    """Read the data of a `started`. Its continuation shows only whether it resumed.

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
        continuation=Resume() if found["resumed"] else NEW_RUN,
        call=CallDetails(found["call_sid"], found["from"], found["to"], found["custom_parameters"]),
        track=found["track"],
        traceparent=TraceParent.read(found["traceparent"]) if "traceparent" in found else None,
    )
    return Started(found["generation"], found["run"], found["resumed"], opening)


def _started(started: Started) -> bytes:
    opening, call = started.opening, started.opening.call
    started_at = _EPOCH + opening.started_at_ms * _MILLISECOND
    return _encode(
        StartedData(
            tenant_id=str(opening.stream.tenant_id),
            interaction_id=str(opening.interaction_id),
            stream_id=str(opening.stream.stream_id),
            track=opening.track,
            run=started.run,
            dialect=opening.dialect,
            generation=started.generation,
            resumed=started.resumed,
            sample_rate=opening.media.sample_rate,
            encoding=opening.media.encoding,
            channels=opening.media.channels,
            call_sid=call.call_sid,
            from_=call.caller,
            to=call.callee,
            custom_parameters=call.custom_parameters,
            started_at=started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            traceparent=msgspec.UNSET if opening.traceparent is None else str(opening.traceparent),
        )
    )


def schemas() -> Mapping[str, Mapping[str, Any]]:
    """Return the JSON schema of the data of each type of entry but audio."""
    types = {"started": StartedData, "gap": GapData, "ended": EndedData}
    found = {kind: inline_schema(type_) for kind, type_ in types.items()}
    return found | dict.fromkeys(_SIGNALS, SIGNAL_DATA)


def inline_schema(type_: Any) -> Mapping[str, Any]:  # noqa: ANN401  # what msgspec takes as a type
    """Return the JSON schema of a type, without references."""
    (schema,), parts = msgspec.json.schema_components([type_], ref_template="{name}")

    def inlined(part: Any) -> Any:  # noqa: ANN401  # JSON
        if isinstance(part, dict):
            if "$ref" in part:
                return inlined(parts[part["$ref"]])
            return {name: inlined(it) for name, it in part.items()}
        return [inlined(it) for it in part] if isinstance(part, list) else part

    found: Mapping[str, Any] = inlined(schema)
    return found
