"""What a consumer finds at NATS, asked for with plain requests and none of our code."""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from nats_client import NatsClient

API = "$JS.API.STREAM.MSG.GET.rtaa-audio"


def messages(port: int, subjects: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each message of some subjects: its line, and what is after it."""
    sequence = 1
    with NatsClient(port) as client:
        while True:
            asked = {"seq": sequence, "next_by_subj": subjects}
            found = client.request(API, asked).get("message")
            if found is None:
                return
            sequence = found["seq"] + 1
            yield split(base64.b64decode(found["data"]))


def entries(port: int, name: str, tenant: str = "tenant-abc") -> list[tuple[str, dict[str, Any]]]:
    """The published stream as a consumer finds it, JSON read."""
    return list(entries_of(messages(port, f"rtaa.audio.{tenant}.{name}.*")))


def split(message: bytes) -> tuple[dict[str, Any], bytes]:
    """A message: its line, and what is after it."""
    line, _, data = message.partition(b"\n")
    return json.loads(line), data


def entries_of(
    found: Iterable[tuple[dict[str, Any], bytes]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entry of some messages, JSON read."""
    for line, data in found:
        rest = data
        for row in line["entries"]:
            own, rest = rest[: row["bytes"]], rest[row["bytes"] :]
            entry = dict(row)
            if row["type"] == "audio":
                entry["audio"] = own
            else:
                entry["data"] = json.loads(own)
            yield row["id"], entry
        assert rest == b""


def audio(port: int, name: str) -> list[tuple[int, bytes]]:
    return [(it["seq"], it["audio"]) for _, it in entries(port, name) if it["type"] == "audio"]


def head(port: int, name: str) -> dict[str, Any]:
    """The head in the last message; `{}` for an unknown stream."""
    with NatsClient(port) as client:
        asked = {"last_by_subj": f"rtaa.audio.tenant-abc.{name}.*"}
        found = client.request(API, asked).get("message")
    if found is None:
        return {}
    told: dict[str, Any] = json.loads(base64.b64decode(found["data"]).partition(b"\n")[0])["head"]
    return told


def index(port: int, name: str) -> list[str]:
    """The types of what is announced of a stream, in order."""
    return [
        row["type"]
        for line, _ in messages(port, f"rtaa.audio.tenant-abc.{name}.index")
        for row in line["entries"]
        if row["type"] in {"started", "ended"}
    ]
