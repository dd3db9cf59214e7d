"""The published data at JetStream, for the AsyncAPI document. `layout` has the subjects."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from adapters.brokers.data import Count, Identifier, inline_schema, schemas
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.nats_jetstream.messages import VERSION
from application.ports.publication import Publication, PublishedChannel, PublishedMessage
from domain.media import Encoding

_ID = msgspec.Meta(description="<generation>-<position>; positions are dense")


class AudioRow(msgspec.Struct, tag_field="type", tag="audio"):
    """A frame."""

    id: Annotated[str, _ID]
    seq: Count
    received_at_ms: Annotated[int, msgspec.Meta(ge=0, description="milliseconds since 1970")]
    bytes: Annotated[int, msgspec.Meta(ge=0, description="of audio after the line, as it was sent")]


class Line(msgspec.Struct):
    """Entries of a run; the fields beside them hold up to a `started` among them."""

    v: Annotated[int, msgspec.Meta(extra_json_schema={"const": VERSION})]
    entries: list[Any]
    head: Annotated[dict[str, Any], msgspec.Meta(description="of the stream, after the message")]
    interaction_id: Identifier | msgspec.UnsetType = msgspec.UNSET
    run: str | msgspec.UnsetType = msgspec.UNSET
    sample_rate: int | msgspec.UnsetType = msgspec.UNSET
    encoding: Encoding | msgspec.UnsetType = msgspec.UNSET
    channels: int | msgspec.UnsetType = msgspec.UNSET


_DESCRIPTION = (
    "A line of JSON, which the schema describes, a newline, and the data of the entries one after "
    "the other: of audio as it was sent, else JSON by the schema `x-data` of the entry."
)


def publication(prefix: str) -> Publication:
    """Describe the two kinds of subjects of an installation."""
    line = inline_schema(Line)
    rows = [inline_schema(AudioRow), *(_row(kind, data) for kind, data in schemas().items())]
    properties = line["properties"] | {"entries": {"type": "array", "items": {"anyOf": rows}}}
    payload = {**line, "properties": properties}
    layout = Layout(prefix)
    subjects = layout.audio_subjects.replace("*", "{tenant_id}", 1).replace("*", "{stream_id}", 1)
    return Publication(
        "NATS JetStream",
        (
            PublishedChannel(
                "stream",
                subjects.replace("*", "batch"),
                f"Entries of one media stream, in the JetStream stream `{layout.audio}`. A `.` in "
                "a tenant or a stream is written `%2E`.",
                (_message("batch", payload),),
            ),
            PublishedChannel(
                "index",
                subjects.replace("*", "index"),
                f"The same where a start or an end is among the entries: the filter "
                f"`{layout.index_subjects}` follows all calls.",
                (_message("index", payload),),
            ),
        ),
    )


def _message(name: str, payload: Mapping[str, Any]) -> PublishedMessage:
    return PublishedMessage(f"{name}Message", payload, _DESCRIPTION, "application/octet-stream")


def _row(kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "required": ["id", "type", "bytes"],
        "properties": {
            "id": {"type": "string", "description": _ID.description},
            "type": {"const": kind},
            "bytes": {
                "type": "integer",
                "description": "of JSON after the line",
                "x-data": data,
            },
        },
    }
