"""The AsyncAPI document: valid, made of what dialects and stores say of themselves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jsonschema import Draft7Validator

from adapters.inbound.dialects import DIALECTS, Dialect
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.http.asyncapi import asyncapi_document
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.redis_streams import layout as redis_layout
from application.ports.destination import DestinationOptions
from domain.identifiers import StreamId, StreamKey, TenantId
from entrypoints.registry import destination_adapters

SCHEMA = Path(__file__).parents[1] / "fixtures" / "asyncapi" / "3.0.0-without-id.json"
VALIDATOR = Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
STREAM = StreamKey(TenantId("acme"), StreamId("call-1"))
OPTIONS = DestinationOptions("installation")


def document(adapter: str = "redis_streams", *dialects: Dialect) -> dict[str, Any]:
    publication = destination_adapters()[adapter].publication(OPTIONS)
    return asyncapi_document("1.2.3", "/v1/ingest", dialects or DIALECTS, publication)


def complaints(found: Mapping[str, Any]) -> list[str]:
    """Return what is against the schema of AsyncAPI, and each reference that leads nowhere."""
    written = json.loads(json.dumps(found))
    told = [error.message for error in VALIDATOR.iter_errors(written)]
    return told + [it for it in references(written) if not leads_somewhere(it, written)]


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [
            found
            for name, it in part.items()
            for found in ([it] if name == "$ref" else references(it))
        ]
    return [found for it in part for found in references(it)] if isinstance(part, list) else []


def leads_somewhere(reference: str, found: Any) -> bool:
    for step in reference.removeprefix("#/").split("/"):
        if step not in found:
            return False
        found = found[step]
    return True


@pytest.mark.parametrize("adapter", destination_adapters())
def test_it_is_valid_whichever_store_is_chosen(adapter: str) -> None:
    assert complaints(document(adapter)) == []


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"channels": {"ingest": {"adress": "/v1/ingest"}}}, "adress"),
        ({"operations": {"say": {"action": "shout"}}}, "shout"),
        ({"asyncapi": "2.0.0"}, "3.0.0"),
        ({"x-lost": {"$ref": "#/components/schemas/Lost"}}, "#/components/schemas/Lost"),
    ],
)
def test_what_is_not_valid_is_seen(broken: dict[str, Any], complaint: str) -> None:
    assert complaint in " ".join(complaints(document() | broken))


class Word(msgspec.Struct, tag_field="kind", tag="acme:word"):
    """One word."""

    text: str


class Number(msgspec.Struct, tag_field="kind", tag="acme:number"):
    value: int


class Envelope(msgspec.Struct):
    """Either of two."""

    inner: Word | Number
    of: Literal["a", "b"]


class Acme(Exostreamkit):
    """Words and numbers."""

    name = "acme"
    messages = (Word, Envelope, bytes, Annotated[bytes, msgspec.Meta(title="loud")])  # type: ignore[assignment]
    replies = (Word,)  # type: ignore[assignment]


def test_a_dialect_describes_itself_by_the_types_of_its_messages() -> None:
    found = document("redis_streams", Acme())
    assert complaints(found) == []
    messages = found["components"]["messages"]
    names = [it["$ref"].split("/")[-1] for it in found["operations"]["acme.say"]["messages"]]
    assert [messages[it]["name"] for it in names] == ["acme:word", "Envelope", "audio", "loud"]
    assert messages[names[0]]["summary"] == "One word."
    assert messages[names[2]]["contentType"] == "application/octet-stream"
    (reply,) = found["operations"]["acme.reply"]["messages"]
    assert messages[reply["$ref"].split("/")[-1]]["name"] == "acme:word"
    assert "- `acme`: Words and numbers.\n" in found["channels"]["ingest"]["description"]
    schemas = found["components"]["schemas"]
    assert schemas["acme.Word"]["required"] == ["kind", "text"]
    assert schemas["acme.Envelope"]["properties"]["inner"]["discriminator"] == "kind"


def test_a_dialect_without_replies_has_no_operation_for_them() -> None:
    operations = document()["operations"]
    assert {"exostreamkit.say", "exostreamkit.reply", "agentstream.say"} <= set(operations)
    assert "agentstream.reply" not in operations


def test_the_schema_of_a_start_has_what_the_decoder_reads() -> None:
    start = document()["components"]["schemas"]["exostreamkit.StartMessage"]
    assert start["required"] == [
        "event", "interaction_id", "tenant_id", "sample_rate", "encoding",
    ]  # fmt: skip
    assert start["properties"]["sample_rate"]["enum"] == [8_000, 16_000, 24_000, 48_000]


def address(found: Mapping[str, Any], channel: str) -> str:
    template: str = found["channels"][channel]["address"]
    return template.replace("{tenant_id}", "acme").replace("{stream_id}", "call-1")


def test_the_addresses_of_redis_are_its_keys() -> None:
    found = document("redis_streams")
    assert address(found, "stream") == redis_layout.stream_key("installation", STREAM)
    assert address(found, "index") == redis_layout.index_key("installation")
    assert "Redis Streams" in found["info"]["description"]


def test_the_addresses_of_nats_are_its_subjects() -> None:
    found = document("nats_jetstream")
    assert address(found, "stream") == Layout("installation").batch(STREAM)
    assert address(found, "index") == Layout("installation").index(STREAM)
    assert "Redis" not in json.dumps(found)


def test_a_store_that_says_nothing_has_entries_of_each_kind_at_no_address() -> None:
    found = document("in_memory")
    assert found["channels"]["stream"]["address"] is None
    assert "in_memory" in found["info"]["description"]
    assert list(found["channels"]["stream"]["messages"]) == [
        "startedEntry", "audioEntry", "gapEntry", "dtmfEntry", "markEntry", "endedEntry",
    ]  # fmt: skip
