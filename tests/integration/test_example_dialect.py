"""The example dialect, as a third party has it: calls over it reach the broker."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_blocks import block
from example_venv import ExampleVenv
from ports import quiet_port
from published import Broker, entries
from running import LIMIT_SECONDS
from waiting import until
from websockets.asyncio.client import ClientConnection, connect
from worker_processes import WorkersProcess, children, worker_of_port

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "vonage"
MAX_LINES = 150
MAX_CALLS = 40
"""Within so many both workers get one, short of a chance of 2 in 2 ** 40."""

FRAMES = [bytes([number, 255 - number]) * 320 for number in range(20)]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    return ExampleVenv(EXAMPLE, tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def service(
    example: ExampleVenv, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkersProcess]:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "RESUME_SECONDS": "1",
    }
    log = tmp_path_factory.mktemp("service") / "log"
    service = WorkersProcess(environment, log, example.python)
    yield service
    service.stop()
    service.kill_all()


def test_it_is_run_against_the_wheel(example: ExampleVenv) -> None:
    found = example.run("-c", "import adapters.inbound.testing as it, vonage; print(it.__file__)")
    assert Path(found.strip()).is_relative_to(example.python.parents[1])


def test_its_readme(example: ExampleVenv) -> None:
    """Its own tests pass, and `check` names it."""
    pip, *commands = block("examples/vonage/README.md", "pip install").text.splitlines()
    assert pip.startswith("pip install ./rtaa_ingest-*.whl ")  # as `example` has done
    report = example.shell(
        "\n".join(commands),
        ROOT,
        PUBSUB_ADAPTER="in_memory",
        SUPPORT_EXOTEL="true",
        PORT=str(quiet_port()),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert "Dialects: exostreamkit, agentstream, vonage\n" in report
    assert " passed" in report


def test_it_is_short() -> None:
    (module,) = (EXAMPLE / "src").rglob("*.py")
    assert len(module.read_text(encoding="utf-8").splitlines()) < MAX_LINES


def ncco() -> dict[str, str]:
    """Return what the NCCO of the README has Vonage send when it has connected."""
    ((endpoint,),) = (
        it["endpoint"] for it in json.loads(block("examples/vonage/README.md", "[{").text)
    )
    assert endpoint["uri"] == "wss://YOUR-HOST/v1/ingest"
    return {"content-type": endpoint["content-type"], **endpoint["headers"]}


async def dial(service: WorkersProcess, name: str) -> ClientConnection:
    socket = await connect(service.url, compression=None, ping_interval=None, proxy=None)
    own = {"event": "websocket:connected", "tenant_id": "tenant-abc", "call_id": name}
    connected = ncco() | own
    await socket.send(json.dumps(connected))
    return socket


async def test_calls_over_it_are_published_by_both_workers(
    service: WorkersProcess, broker: Broker, name: str
) -> None:
    workers: dict[str, int] = {}
    while set(workers.values()) != set(children(service)):
        assert len(workers) < MAX_CALLS, workers
        call = f"{name}-{len(workers)}"
        socket = await dial(service, call)
        workers[call] = worker_of_port(socket.local_address[1], service)
        for frame in FRAMES:
            await socket.send(frame)
        await socket.send('{"event":"websocket:dtmf","digit":"5","duration":260}')
        await socket.close()  # as the caller hangs up

    def ended(call: str) -> bool:
        found = entries(broker, call)
        return bool(found) and found[-1][1]["type"] == "ended"

    for call in workers:
        await until(lambda call=call: ended(call))  # type: ignore[misc]
        found = [entry for _, entry in entries(broker, call)]
        assert (
            found[0]["data"]
            | {
                "dialect": "vonage",
                "sample_rate": 16_000,
                "call_sid": call,
                "from": "447700900000",
            }
            == found[0]["data"]
        )
        assert [entry["audio"] for entry in found if entry["type"] == "audio"] == FRAMES
        assert [entry["type"] for entry in found[-2:]] == ["dtmf", "ended"]
        assert found[-2]["data"] == {"digit": "5", "duration": 260}
        assert found[-1]["data"]["ledger"]["published"] == len(FRAMES)


def test_the_asyncapi_document_describes_it(service: WorkersProcess) -> None:
    url = f"http://127.0.0.1:{service.port}/asyncapi.json"
    with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as answer:
        document = json.load(answer)
    sent = [it["$ref"].split("/")[-1] for it in document["operations"]["vonage.say"]["messages"]]
    messages = [document["components"]["messages"][it] for it in sent]
    assert [it["name"] for it in messages] == [
        "websocket:connected",
        "websocket:dtmf",
        "websocket:cleared",
        "websocket:notify",
        "audio",
    ]
    assert messages[-1]["contentType"] == "application/octet-stream"
    assert "vonage.reply" not in document["operations"]
