"""What operators and platforms ask over HTTP."""

import json
from datetime import datetime
from http.client import HTTPConnection
from typing import Any

import pytest
from jsonschema import Draft7Validator
from prometheus_client.parser import text_string_to_metric_families
from published import Broker, entries, index
from running import Caller, Service


def test_health_says_so_with_a_timestamp(service: Service) -> None:
    status, body = service.get("/health")
    health = json.loads(body)
    assert status == 200
    assert list(health) == ["status", "service", "pubsub", "timestamp"]
    assert health | {"timestamp": ""} == {
        "status": "healthy",
        "service": "ingest",
        "pubsub": True,
        "timestamp": "",
    }
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None


def test_live_and_ready_are_200(service: Service) -> None:
    assert service.get("/health/live")[0] == 200
    assert service.get("/health/ready") == (200, b'{"ready":true,"reason":null}')


def test_the_schema_is_openapi_and_describes_the_routes(service: Service) -> None:
    schema = service.get_json("/schema")
    assert schema["openapi"].startswith("3.")
    assert {"/health", "/health/live", "/health/ready", "/metrics"} <= set(schema["paths"])


def test_the_asyncapi_document_is_of_the_dialects_and_the_store_in_force(service: Service) -> None:
    document = service.get_json("/asyncapi.json")
    assert document["asyncapi"].startswith("3.")
    messages = document["components"]["messages"]
    codes = document["components"]["schemas"]["exostreamkit.ErrorReply"]["properties"]["code"]
    assert {"malformed_json", "frame_too_large"} <= set(codes["enum"])
    names = {messages[name]["name"] for name in document["channels"]["ingest"]["messages"]}
    assert {"start", "audio", "end", "connected", "media", "dtmf", "mark", "stop"} <= names
    assert "agentstream" in document["channels"]["ingest"]["description"]
    assert document["channels"]["stream"]["address"] == "rtaa:audio:{{tenant_id}/{stream_id}}"
    assert document["channels"]["index"]["address"] == "rtaa:interactions"


async def test_the_asyncapi_document_names_the_fields_that_are_published(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 2)
    await caller.end()
    messages = service.get_json("/asyncapi.json")["components"]["messages"]

    def required(message: str) -> set[str]:
        return set(messages[message]["payload"]["required"])

    for _, entry in entries(broker, name):
        message = f"{entry['type']}Entry"
        assert required(message) == set(entry)
        if entry["type"] in {"started", "gap", "ended"}:
            data = messages[message]["payload"]["properties"]["data"]["contentSchema"]
            assert set(data["required"]) == set(entry["data"])
            Draft7Validator(data).validate(entry["data"])
    announced = index(broker, name)
    assert [entry["type"] for entry in announced] == ["started", "ended"]
    for entry in announced:
        assert required("indexEntry") == set(entry)


def test_an_unknown_path_is_404_and_says_nothing_of_us(service: Service) -> None:
    status, body = service.get("/nothing")
    assert status == 404
    assert b"Traceback" not in body


async def test_metrics_tell_what_became_of_frames(start_service: Any, name: str) -> None:
    service = start_service()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    assert service.metric("ingest_streams", dialect="exostreamkit") == 1
    await caller.speak(0, 1, 1, 4)
    await caller.say("{")
    await caller.end()
    families = {
        family.name: family
        for family in text_string_to_metric_families(service.get("/metrics")[1].decode())
    }
    counted = {
        (s.labels["outcome"], s.labels["reason"]): s.value
        for s in families["ingest_frames"].samples
        if s.value
    }
    assert counted == {
        ("received", ""): 5,
        ("published", ""): 3,
        ("duplicate", ""): 1,
        ("missing", ""): 2,
        ("rejected", "malformed_json"): 1,
    }
    assert service.metric("ingest_confirm_seconds_count") == 3
    assert service.metric("ingest_confirm_seconds_bucket", le="+Inf") == 3
    assert service.metric("ingest_broker_up") == 1
    assert service.metric("ingest_buffered_bytes") == 0
    assert service.metric("ingest_streams", dialect="exostreamkit") == 0


PATHS = ["/health", "/health/live", "/health/ready", "/metrics", "/schema", "/asyncapi.json"]


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/v1/ingest"])
def test_head_is_answered_like_get_without_a_body(service: Service, path: str) -> None:
    answers = []
    for method in ("GET", "HEAD"):
        connection = HTTPConnection("127.0.0.1", service.port, timeout=5)
        connection.request(method, path)
        answer = connection.getresponse()
        answers.append((answer.status, answer.getheader("content-type"), bool(answer.read())))
        connection.close()
    (status, kind, _), headed = answers
    assert headed == (status, kind, False)
    assert (status == 200) is (path in PATHS)


def test_a_handshake_without_an_upgrade_is_told_which_one_is_needed(service: Service) -> None:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=5)
    connection.request("GET", "/v1/ingest")
    answer = connection.getresponse()
    assert answer.status == 426
    assert answer.getheader("upgrade") == "websocket"
    assert answer.getheader("connection") == "Upgrade"
    connection.close()


@pytest.mark.parametrize(
    ("path", "allowed"), [("/health", "GET, HEAD, OPTIONS"), ("/v1/ingest", "GET, HEAD")]
)
def test_a_wrong_method_is_told_the_right_ones(service: Service, path: str, allowed: str) -> None:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=5)
    connection.request("DELETE", path)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("allow")) == (405, allowed)
    connection.close()
