"""The forwarder of docs/kafka.md as a process, calls for it, and what of them comes to Kafka."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from broker_lab import BrokerLab
from mock_kafka import TOPIC, MockKafka, Record
from running import Caller, Service

REPOSITORY = Path(__file__).parents[3]

DOCS = REPOSITORY / "docs" / "kafka.md"


class Forwarder:
    """The example, as a user runs it."""

    def __init__(self, errors: Path, *arguments: str) -> None:
        self._errors = errors
        with errors.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "examples/forward_to_kafka.py", *arguments],
                cwd=REPOSITORY,
                stderr=out,
            )

    @property
    def told(self) -> str:
        return self._errors.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)


Start = Callable[..., Forwarder]


@contextmanager
def forwarders(lab: BrokerLab, kafka: MockKafka, tmp_path: Path) -> Iterator[Start]:
    """Start forwarders between these two; they are killed at the end."""
    with ExitStack() as stack:

        def start(worker: str = "one", url: str = lab.url, **properties: Any) -> Forwarder:
            """Dots in the names of properties are written as underscores."""
            named = {name.replace("_", "."): value for name, value in properties.items()}
            file = tmp_path / f"{worker}.json"
            file.write_text(json.dumps({"bootstrap.servers": kafka.servers, **named}))
            forwarder = Forwarder(tmp_path / worker, url, "kafka", worker, str(file), TOPIC)
            stack.callback(forwarder.kill)
            return forwarder

        yield start


def service_to_forward(lab: BrokerLab, start_service: Callable[..., Service]) -> Service:
    """Start a service on that broker, which replays whole calls, however busy the machine is."""
    return start_service(
        REDIS_URL=lab.url,
        RESUME_SECONDS="3",
        REWIND_SECONDS="60",
        ACK_INTERVAL="1",
        DRAIN_SECONDS="1",
    )


def key_of(name: str) -> str:
    return f"rtaa:audio:{{tenant-abc/{name}}}"


def stream(lab: BrokerLab, name: str) -> list[tuple[str, str, bytes]]:
    """What the broker has of a stream: id, type and value of each entry."""
    with lab.client() as broker:
        found: Any = broker.xrange(key_of(name))
    return [
        (entry.decode(), fields[b"type"].decode(), fields.get(b"audio", fields.get(b"data")))
        for entry, fields in found
    ]


def of(kafka: MockKafka, name: str) -> list[Record]:
    return [record for record in kafka.records() if record.key == key_of(name)]


def plain(records: list[Record]) -> list[tuple[str, str, bytes]]:
    return [(record.entry, record.headers["type"], record.value) for record in records]


def frames(records: list[Record]) -> list[tuple[int, bytes]]:
    return [
        (int(record.headers["seq"]), record.value)
        for record in records
        if record.headers["type"] == "audio"
    ]


def ends(kafka: MockKafka, name: str) -> int:
    return len({it.entry for it in of(kafka, name) if it.headers["type"] == "ended"})


SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), re.DOTALL)


def without_repeats(records: list[Record]) -> list[Record]:
    """Judge by the snippet that the docs give to consumers."""
    (snippet,) = [text for language, text in SNIPPETS if language == "python"]
    scope: dict[str, Any] = {}
    exec(snippet, scope)  # noqa: S102  # it is our own
    return [it for it in records if scope["is_new"](it.key, it.headers)]


async def call(its_service: Service, name: str, *seqs: int, **fields: Any) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name, **fields)
    await caller.speak(*seqs)
    await caller.end()
