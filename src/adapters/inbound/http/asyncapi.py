"""The WebSocket and the published entries as an AsyncAPI 3.0 document, made of what is in force."""

from collections.abc import Iterable
from typing import Any

from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.exostreamkit import ERROR_CODES
from application.call.closing import CloseCode
from domain.events import EndReason, Signal
from domain.identifiers import MAX_LENGTH
from domain.ledger import NOTHING
from domain.media import MAX_FRAME_BYTES, SAMPLE_RATES_HZ, Encoding
from domain.sequence import MAX_SEQ

Schema = dict[str, Any]

_IDENTIFIER: Schema = {
    "type": "string",
    "pattern": f"^[A-Za-z0-9._~@+=-]{{1,{MAX_LENGTH}}}$",
}
_SEQ: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_SEQ}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_RUN: Schema = {**_TEXT, "description": "name of the run, the same in all its generations"}
_LEDGER: Schema = {
    "type": "object",
    "description": "received = published + duplicate + rejected + lost",
    "required": list(NOTHING.counters()),
    "properties": dict.fromkeys(NOTHING.counters(), _COUNT),
}


def asyncapi_document(version: str, prefix: str, dialects: Iterable[Dialect]) -> Schema:
    """Build the document for streams under `prefix`."""
    sent = {**_sent(), **_of_carriers()}
    messages = {**sent, **_replied(), **_published(), **_announced()}
    codes = ", ".join(f"{code.value} {code.name.lower()}" for code in CloseCode)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rtaa-ingest",
            "version": version,
            "description": "Live phone audio in over a WebSocket, published to Redis Streams.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "ingest": {
                "address": "/v1/ingest",
                "description": (
                    f"One WebSocket per stream; dialects: "
                    f"{', '.join(dialect.name for dialect in dialects)}. Binary messages after "
                    f"start are raw PCM frames of at most {MAX_FRAME_BYTES} bytes (exostreamkit). "
                    f"Closed with: {codes}."
                ),
                "messages": _references([*sent, *_replied()]),
            },
            "stream": {
                "address": f"{prefix}:audio:{{{{tenant_id}}/{{stream_id}}}}",
                "description": (
                    "A Redis Stream; the outer braces are literal. Entry ids are "
                    "<generation>-<position>, positions are dense."
                ),
                "messages": _references(_published()),
            },
            "index": {
                "address": f"{prefix}:interactions",
                "description": (
                    "A Redis Stream: each start and end at least once, for consumer groups."
                ),
                "messages": _references(_announced()),
            },
        },
        "operations": {
            "say": _operation("receive", "ingest", sent),
            "reply": _operation("send", "ingest", _replied()),
            "publish": _operation("send", "stream", _published()),
            "announce": _operation("send", "index", _announced()),
        },
        "components": {"messages": messages},
    }


def _sent() -> dict[str, Schema]:
    start = {
        "interaction_id": _IDENTIFIER,
        "tenant_id": _IDENTIFIER,
        "sample_rate": {"enum": sorted(SAMPLE_RATES_HZ)},
        "encoding": {"const": Encoding.PCM16.value},
    }
    audio = {
        "data": {"type": "string", "contentEncoding": "base64"},
        "seq": _SEQ,
    }
    return {
        "start": _event("start", start, resume={"type": "boolean"}),
        "audio": _event("audio", audio),
        "end": _event("end", {}),
    }


def _of_carriers() -> dict[str, Schema]:
    """Describe agentstream; numbers may be strings, and most of it may be absent."""
    number: Schema = {"type": ["string", "integer"]}
    call = {"call_sid": _IDENTIFIER, "account_sid": _IDENTIFIER}
    media_format = {
        "encoding": _TEXT,
        "sample_rate": number,
        "bit_rate": _TEXT,
        "channels": {"enum": [1, "1"]},
    }
    start = {
        **call,
        "stream_sid": _IDENTIFIER,
        "from": _TEXT,
        "to": _TEXT,
        "custom_parameters": {"type": "object"},
        "media_format": _object({}, media_format),
    }
    media = {"chunk": number, "timestamp": number, "track": _TEXT}
    payload = {"payload": {"type": "string", "contentEncoding": "base64"}}
    envelope = {"sequence_number": number, "stream_sid": _IDENTIFIER}
    return {
        "connected": _event("connected", {}),
        "carrierStart": _event("start", {"start": _object(call, start)}, **envelope),
        "media": _event("media", {"media": _object(payload, media)}, **envelope),
        "dtmf": _event("dtmf", {"dtmf": {"type": "object"}}, **envelope),
        "mark": _event("mark", {"mark": {"type": "object"}}, **envelope),
        "stop": _event("stop", {}, stop=_object({}, {**call, "reason": _TEXT}), **envelope),
    }


def _replied() -> dict[str, Schema]:
    started = {
        "interaction_id": _IDENTIFIER,
        "generation": _COUNT,
        "last_seq": {"type": ["integer", "null"]},
    }
    error = {
        "code": {"enum": [code.value for code in ERROR_CODES]},
        "message": _TEXT,
        "seq": {"type": ["integer", "null"]},
    }
    return {
        "startedReply": _event("started", started),
        "ack": _event("ack", {"seq": _SEQ}),
        "error": _event("error", error),
        "endedReply": _event("ended", {"interaction_id": _IDENTIFIER, "ledger": _LEDGER}),
    }


def _published() -> dict[str, Schema]:
    started = {
        "tenant_id": _IDENTIFIER,
        "interaction_id": _IDENTIFIER,
        "stream_id": _IDENTIFIER,
        "track": {"type": ["string", "null"]},
        "run": _RUN,
        "dialect": _TEXT,
        "generation": _COUNT,
        "resumed": {"type": "boolean"},
        "sample_rate": {"enum": sorted(SAMPLE_RATES_HZ)},
        "encoding": {"enum": [encoding.value for encoding in Encoding]},
        "channels": {"const": 1},
        "call_sid": {"type": ["string", "null"]},
        "from": {"type": ["string", "null"]},
        "to": {"type": ["string", "null"]},
        "custom_parameters": {"type": "object", "additionalProperties": _TEXT},
        "started_at": {"type": "string", "format": "date-time"},
    }
    audio = {
        "seq": _SEQ,
        "received_at_ms": {**_COUNT, "description": "milliseconds since 1970"},
        "audio": {"description": "raw bytes as sent; s16le mono unless started says otherwise"},
    }
    gap = {"first_missing": _SEQ, "missing": _COUNT}
    ended = {"reason": {"enum": [reason.value for reason in EndReason]}, "ledger": _LEDGER}
    return {
        "startedEntry": _entry("started", {"data": _json(started)}),
        "audioEntry": _entry("audio", audio),
        "gapEntry": _entry("gap", {"data": _json(gap)}),
        **{f"{signal.value}Entry": _entry(signal.value, {"data": _json({})}) for signal in Signal},
        "endedEntry": _entry("ended", {"data": _json(ended, recovered={"type": "boolean"})}),
    }


def _announced() -> dict[str, Schema]:
    fields = {
        "tenant_id": _IDENTIFIER,
        "interaction_id": _IDENTIFIER,
        "stream_id": _IDENTIFIER,
        "generation": _COUNT,
        "run": _RUN,
        "resumed": {"enum": ["0", "1"]},
        "entry": {**_TEXT, "description": "id of the entry announced: read from it on"},
        "key": {**_TEXT, "description": "of the stream that has the entry"},
        "event_id": {**_TEXT, "description": "the same when an announcement is repeated"},
    }
    return {f"{kind}IndexEntry": _entry(kind, fields) for kind in ("started", "ended")}


def _event(name: str, required: Schema, **optional: Schema) -> Schema:
    fields = {"event": {"const": name}, **required}
    return {"name": name, "payload": _object(fields, optional)}


def _entry(kind: str, fields: Schema) -> Schema:
    return {"name": kind, "payload": _object({"type": {"const": kind}, **fields}, {})}


def _json(required: Schema, **optional: Schema) -> Schema:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": _object(required, optional),
    }


def _object(required: Schema, optional: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


def _references(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operation(action: str, channel: str, messages: Iterable[str]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }
