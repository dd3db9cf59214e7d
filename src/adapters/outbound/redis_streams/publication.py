"""The published data at Redis, for the AsyncAPI document. The keys are those of `layout`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from adapters.brokers.data import Count, Identifier, inline_schema, schemas
from adapters.outbound.redis_streams import layout
from application.ports.publication import Publication, PublishedChannel, PublishedMessage
from domain.sequence import MAX_SEQ

_RAW = msgspec.Meta(description="raw bytes as sent; s16le mono unless started says otherwise")


class AudioFields(msgspec.Struct, tag_field="type", tag="audio"):
    """A frame."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
    received_at_ms: Annotated[int, msgspec.Meta(ge=0, description="milliseconds since 1970")]
    audio: Annotated[Any, _RAW]


class IndexFields(msgspec.Struct):
    """A start or an end of a stream."""

    type: Literal["started", "ended"]
    tenant_id: Identifier
    interaction_id: Identifier
    stream_id: Identifier
    generation: Count
    run: str
    resumed: Literal["0", "1"]
    entry: Annotated[str, msgspec.Meta(description="id of the entry announced: read from it on")]
    key: Annotated[str, msgspec.Meta(description="of the stream that has the entry")]
    event_id: Annotated[str, msgspec.Meta(description="the same when an announcement is repeated")]


def publication(prefix: str) -> Publication:
    """Describe the streams of entries and the index of an installation."""
    entries = {kind: _entry(kind, {"data": _json(schema)}) for kind, schema in schemas().items()}
    audio = PublishedMessage("audioEntry", inline_schema(AudioFields))
    return Publication(
        "Redis Streams",
        (
            PublishedChannel(
                "stream",
                f"{prefix}:audio:{{{{tenant_id}}/{{stream_id}}}}",
                "A Redis Stream; the outer braces are literal. Entry ids are "
                "<generation>-<position>, positions are dense.",
                (entries.pop("started"), audio, *entries.values()),
            ),
            PublishedChannel(
                "index",
                layout.index_key(prefix),
                "A Redis Stream: each start and end at least once, for consumer groups.",
                (PublishedMessage("indexEntry", inline_schema(IndexFields)),),
            ),
        ),
    )


def _entry(kind: str, fields: Mapping[str, Any]) -> PublishedMessage:
    payload = {
        "type": "object",
        "required": ["type", *fields],
        "properties": {"type": {"const": kind}, **fields},
    }
    return PublishedMessage(f"{kind}Entry", payload)


def _json(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": schema,
    }
