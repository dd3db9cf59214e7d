"""What a consumer finds at the broker, read with plain commands and none of our code."""

import json
from typing import Any

import redis

Broker = redis.Redis


def entries(
    broker: Broker, name: str, tenant: str = "tenant-abc"
) -> list[tuple[str, dict[str, Any]]]:
    """The published stream as a consumer finds it, JSON read."""
    return entries_at(broker, f"rtaa:audio:{{{tenant}/{name}}}")


def entries_at(broker: Broker, key: str | bytes) -> list[tuple[str, dict[str, Any]]]:
    """The entries of a stream whose key is known, JSON read."""
    found: Any = broker.xrange(key)
    result = []
    for entry_id, fields in found:
        entry: dict[str, Any] = {key.decode(): value for key, value in fields.items()}
        entry["type"] = entry["type"].decode()
        if "data" in entry:
            entry["data"] = json.loads(entry["data"])
        result.append((entry_id.decode(), entry))
    return result


def audio(broker: Broker, name: str) -> list[tuple[int, bytes]]:
    found = entries(broker, name)
    return [(int(e["seq"]), e["audio"]) for _, e in found if e["type"] == "audio"]


def index(broker: Broker, name: str) -> list[dict[str, str]]:
    """What the index has of a stream: the fields of each entry."""
    found: Any = broker.xrange("rtaa:interactions")
    notices = [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in found]
    return [fields for fields in notices if fields["stream_id"] == name]


def facts(broker: Broker, name: str) -> dict[str, str]:
    found: Any = broker.hgetall(f"rtaa:interaction:{{tenant-abc/{name}}}")
    return {key.decode(): value.decode() for key, value in found.items()}


def kinds(broker: Broker, name: str) -> list[str]:
    """The types of all entries of a stream."""
    return [entry["type"] for _, entry in entries(broker, name)]


def ends(broker: Broker, name: str) -> list[dict[str, Any]]:
    """The data of each `ended`."""
    return [entry["data"] for _, entry in entries(broker, name) if entry["type"] == "ended"]


def starts(broker: Broker, name: str) -> list[dict[str, Any]]:
    """The data of each `started`."""
    return [entry["data"] for _, entry in entries(broker, name) if entry["type"] == "started"]


def check_positions(broker: Broker, name: str) -> None:
    """Assert that the positions of a stream are dense from 0."""
    positions = [int(entry_id.split("-")[1]) for entry_id, _ in entries(broker, name)]
    assert positions == list(range(len(positions)))
