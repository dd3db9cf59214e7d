"""The examples of docs/published-nats.md, over servers that die and forget: each frame once."""

import ast
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from example_reader import ExampleReader
from nats_client import needs_nats_server
from ports import quiet_port
from running import Caller, Service, pcm
from waiting import until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats

pytestmark = needs_nats_server

ROOT = Path(__file__).parents[2]
MAX_LINES = {"read_calls_nats.py": 61, "read_calls_nats.mjs": 80}
"""The examples are to be read at a glance: they stay below. One has a client of its own in it."""

NODE = shutil.which("node")
COMMANDS = {
    "python": [sys.executable, "examples/read_calls_nats.py"],
    "node": [NODE or "node", "examples/read_calls_nats.mjs"],
}

StartReader = Callable[..., ExampleReader]


@pytest.fixture
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats(port=quiet_port()) as server:
        yield server


@pytest.fixture
def service(server: EmbeddedNats) -> Iterator[Service]:
    environment = {
        "PUBSUB_ADAPTER": "nats_jetstream",
        "NATS_URL": server.url,
        "SUPPORT_EXOTEL": "true",
        "LOG_LEVEL": "error",
        "ACK_INTERVAL": "1",
        "REWIND_SECONDS": "20",
        "DRAIN_SECONDS": "1",
    }
    with Service(environment) as service:
        yield service


@pytest.fixture(params=COMMANDS)
def start_reader(
    request: pytest.FixtureRequest, server: EmbeddedNats, tmp_path: Path
) -> Iterator[StartReader]:
    command = COMMANDS[request.param]
    if request.param == "node" and NODE is None:
        pytest.skip("there is no Node.js here")
    with ExitStack() as stack:

        def start(worker: str = "one") -> ExampleReader:
            reader = ExampleReader([*command, server.url, "asr"], tmp_path, worker)
            stack.callback(reader.kill)
            return reader

        yield start


def frames(name: str, run: str, seqs: range) -> list[tuple[str, str, int, bytes]]:
    return [(f"tenant-abc/{name}", run, seq, pcm(seq)) for seq in seqs]


async def until_ended(reader: ExampleReader, runs: int = 1) -> None:
    await until(lambda: len(reader.of_type("ended")) >= runs)


async def test_a_resume_a_gap_and_a_second_run_are_read_once_each(
    service: Service, start_reader: StartReader, name: str
) -> None:
    name = f"{name}.dotted"
    reader = start_reader()
    first, resumed, second = [await Caller.dial(service.url) for _ in range(3)]
    await first.start(name)
    await first.speak(*range(5))
    await first.hear_ack(4)
    first.reset()
    await resumed.start(name, resume=True)
    await resumed.speak(5, 8)
    await resumed.end()
    await second.start(name)
    await second.speak(*range(3))
    await second.end()
    await until_ended(reader, 2)
    one, two = (it["data"]["run"] for it in reader.of_type("started") if not it["data"]["resumed"])
    read = frames(name, one, range(6)) + frames(name, one, range(8, 9))
    assert reader.frames == read + frames(name, two, range(3))
    (gap,) = reader.of_type("gap")
    assert (gap["seq"], gap["data"]) == (7, {"first_missing": 6, "missing": 2})
    assert [it["id"].split("-")[1] for it in reader.events] == [str(n) for n in range(16)]


async def test_each_frame_is_read_once_when_the_server_dies_and_comes_back_empty(
    service: Service, server: EmbeddedNats, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    for fault in ("kill", "empty"):
        sent = 10 if fault == "kill" else 20
        await caller.speak(*range(sent - 10, sent))
        await caller.hear_ack(sent - 1)
        await until(lambda sent=sent: len(reader.frames) == sent)  # type: ignore[misc]
        server.stop(signal.SIGKILL)
        if fault == "empty":
            shutil.rmtree(server.directory)
        await asyncio.to_thread(server.start)
    await caller.speak(*range(20, 30))
    await caller.end()
    await until_ended(reader)
    run = reader.of_type("started")[0]["data"]["run"]
    assert reader.frames == frames(name, run, range(30))


async def test_a_worker_that_starts_again_continues_where_it_was(
    service: Service, start_reader: StartReader, name: str
) -> None:
    before = start_reader("before")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    await until(lambda: len(before.frames) == 10)
    before.kill()
    await caller.speak(*range(10, 20))
    await caller.end()
    after = start_reader("after")
    await until_ended(after)
    seqs = after.seqs_of(f"tenant-abc/{name}")
    assert seqs == list(range(seqs[0], 20))
    assert seqs[0] <= 10


@pytest.mark.parametrize("name", MAX_LINES)
def test_the_examples_stay_short_and_are_named_in_the_docs(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= MAX_LINES[name]
    assert f"../examples/{name}" in (ROOT / "docs" / "published-nats.md").read_text()


@pytest.mark.parametrize("kind", COMMANDS)
async def test_readers_side_by_side_need_no_more_than_the_rights_of_the_docs(
    kind: str, name: str, tmp_path: Path
) -> None:
    if kind == "node" and NODE is None:
        pytest.skip("there is no Node.js here")
    docs = (ROOT / "docs" / "published-nats.md").read_text()
    rule = docs.split("<!-- the-reader -->\n```\n")[1].partition("\n```")[0]
    config = (
        f"accounts {{ A {{ jetstream: enabled, users: [ {{ user: s, password: s }}, {rule} ] }} }}"
    )
    with EmbeddedNats(config) as server, ExitStack() as stack:
        at = f"127.0.0.1:{server.port}"
        environment = {
            "PUBSUB_ADAPTER": "nats_jetstream",
            "NATS_URL": f"nats://s:s@{at}",
            "SUPPORT_EXOTEL": "true",
            "LOG_LEVEL": "error",
        }
        with Service(environment) as service:
            readers = []
            for worker in ("one", "two"):
                command = [*COMMANDS[kind], f"nats://USER:PASSWORD@{at}", worker]
                readers.append(ExampleReader(command, tmp_path, worker))
                stack.callback(readers[-1].kill)
            caller = await Caller.dial(service.url)
            await caller.start(name)
            await caller.speak(*range(20))
            await caller.end()
            for reader in readers:
                await until_ended(reader)
                assert reader.seqs_of(f"tenant-abc/{name}") == list(range(20))


BEFORE_SNIPPET = """
import asyncio, os

def recognise(*heard):
    print(heard, flush=True)
    os._exit(0)

async def main():
"""


async def test_the_snippet_of_the_docs_hears_a_call(
    service: Service, server: EmbeddedNats, name: str, tmp_path: Path
) -> None:
    docs = (ROOT / "docs" / "published-nats.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", docs, re.DOTALL)
    assert "nats://localhost:4222" in snippet
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.end()
    body = textwrap.indent(snippet.replace("nats://localhost:4222", server.url), "    ")
    script = tmp_path / "snippet.py"
    script.write_text(f"{BEFORE_SNIPPET}{body}\nasyncio.run(main())\n")
    done = await asyncio.to_thread(
        lambda: subprocess.run(
            [sys.executable, script],
            env={**os.environ, "PYTHONPATH": str(ROOT / "examples")},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    )
    assert done.returncode == 0, done.stderr
    key, _, seq, data = ast.literal_eval(done.stdout)
    assert (key, seq, data) == (f"tenant-abc/{name}", 0, pcm(0))
