"""The page of the AsyncAPI document: all of it is told, as text, and nothing else is loaded."""

import html
import re
from typing import Any

import msgspec
import pytest
from litestar.testing import create_test_client

from adapters.inbound.dialects import DIALECTS
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.http.asyncapi import asyncapi_document
from adapters.inbound.http.asyncapi_page import asyncapi_page_route, fields_of, render
from application.ports.destination import DestinationOptions
from entrypoints.registry import destination_adapters


def document(adapter: str) -> dict[str, Any]:
    publication = destination_adapters()[adapter].publication(DestinationOptions("rtaa"))
    return asyncapi_document("1.2.3", "/v1/ingest", DIALECTS, publication)


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


@pytest.mark.parametrize("adapter", destination_adapters())
def test_each_channel_operation_and_message_is_told(adapter: str) -> None:
    found = document(adapter)
    text = text_of(render(found))
    for channel in found["channels"].values():
        assert (channel["address"] or "no address") in text
    for name in found["operations"]:
        assert name in text
    for message in found["components"]["messages"].values():
        assert message["name"] in text
        assert message.get("summary", "") in text


def test_fields_within_fields_are_told_with_what_they_may_be() -> None:
    found = document("redis_streams")
    schemas = found["components"]["schemas"]
    told = {
        name: (kind, note)
        for name, kind, note in fields_of(found, schemas["agentstream.StartMessage"])
    }
    assert told["event"] == ('"start"', "")
    assert told["start.call_sid"] == ("string", "matches ^[A-Za-z0-9._~@+=-]{1,128}$")
    assert told["start.media_format"][0] == "object"
    assert told["start.media_format.sample_rate"] == ("integer or string", "optional")
    assert told["start.media_format.encoding"] == ("string", 'optional, default ""')


def test_fields_that_hold_json_are_told_from_within() -> None:
    found = document("redis_streams")
    entry = found["components"]["messages"]["gapEntry"]["payload"]
    told = {name: kind for name, kind, _ in fields_of(found, entry)}
    assert told == {
        "type": '"gap"',
        "data": "JSON text",
        "data.first_missing": "integer",
        "data.missing": "integer",
    }


def test_a_schema_that_holds_itself_is_told_to_an_end() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    found = {"components": {"schemas": {"Node": node}}}
    assert len(list(fields_of(found, node))) < 10


def test_what_a_dialect_says_is_text_and_never_markup() -> None:
    class Odd(msgspec.Struct):
        """<script>alert(1)</script>"""

        event: str

    class Odder(Exostreamkit):
        name = "odd"
        messages = (Odd,)  # type: ignore[assignment]

    publication = destination_adapters()["in_memory"].publication(DestinationOptions())
    page = render(asyncapi_document("1", "/", (Odder(),), publication))
    assert "<script" not in page
    assert "<script>alert(1)</script>" in text_of(page.replace("<style>", "<style "))


def test_the_page_may_load_nothing() -> None:
    with create_test_client([asyncapi_page_route(document("redis_streams"))]) as client:
        answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.findall(r"(?:src|href)=(?!/asyncapi\.json)", answer.text)
