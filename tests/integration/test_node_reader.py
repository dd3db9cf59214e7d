"""The reader of clients/node: its rules, its README, and workers over brokers that fail."""

import asyncio
import base64
import json
import re
import ssl
import subprocess
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from broker_urls import URLS
from example_reader import ExampleReader
from node_reader import CLIENT
from running import Caller, Service, pcm
from shared_calls import PacedCall, key_of
from waiting import until

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.target import Target

Start = Callable[..., ExampleReader]

pytestmark = [pytest.mark.long(50), pytest.mark.usefixtures("node_packages")]


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", *arguments], cwd=CLIENT, capture_output=True, text=True, timeout=60, check=False
    )


def test_its_rules_hold() -> None:
    done = run_node("--test", *(str(it) for it in sorted((CLIENT / "test").glob("*.test.js"))))
    assert done.returncode == 0, done.stdout


def test_its_types_are_sound() -> None:
    """What the last look found of files that are the same now is not looked for again."""
    found = ("--incremental", "--tsBuildInfoFile", "node_modules/.cache/types.json")
    done = run_node("node_modules/typescript/bin/tsc", *found)
    assert done.returncode == 0, done.stdout


def test_it_depends_on_the_client_alone_and_the_lock_names_no_registry() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    lock = json.loads((CLIENT / "package-lock.json").read_text())
    assert list(package["dependencies"]) == ["@redis/client"]
    shipped = [name for name, it in lock["packages"].items() if name and not it.get("dev")]
    assert shipped == ["node_modules/@redis/client"]
    assert all(
        "integrity" in it and "resolved" not in it for n, it in lock["packages"].items() if n
    )


def test_the_kits_of_both_languages_hold_leases_by_the_same_script() -> None:
    python = CLIENT.parent / "python" / "src" / "rtaa_reader" / "hold.lua"
    if not python.exists():
        pytest.skip("there is no reader in Python here")
    assert (CLIENT / "src" / "hold.lua").read_text() == python.read_text()


ADDRESSES = """
import { addressOf } from "./src/address.js";
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(addressOf)));
"""


def test_a_url_is_understood_as_by_the_service() -> None:
    done = run_node("--input-type=module", "--eval", ADDRESSES, json.dumps(URLS))
    assert done.returncode == 0, done.stderr
    for url, found in zip(URLS, json.loads(done.stdout), strict=True):
        target = Target.of(url)
        assert (found["kind"], found["name"]) == (target.kind.value, target.name)
        assert [written(it) for it in target.seeds] == found["seeds"], url
        server = found["server"]
        assert server.pop("socket").get("tls", False) == (target.server.tls is not None)
        assert {**server, "socket": written(target.server)["socket"]} == written(target.server)


def written(address: Address) -> dict[str, Any]:
    """Write an address as the reader does."""
    socket: dict[str, Any] = {"path": address.path} if address.path else {}
    if not address.path:
        socket = {"host": address.host, "port": address.port}
    if address.tls is not None:
        socket["tls"] = True
        if address.tls.verify_mode is ssl.CERT_NONE:
            socket["rejectUnauthorized"] = False
    login = {"username": address.username, "password": address.password}
    given = {key: it for key, it in login.items() if it is not None}
    return {**given, "database": address.database, "socket": socket}


async def test_a_resume_a_gap_and_a_second_run_come_once_each(
    its_service: Service, start_node: Start, name: str
) -> None:
    worker = start_node("one")
    first, resumed, second = [await Caller.dial(its_service.url) for _ in range(3)]
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
    await until(lambda: len(worker.of_type("ended")) == 2)
    kinds = [(it["type"], it["seq"]) for it in worker.events if it["type"] != "open"]
    five, three = ([("audio", seq) for seq in range(count)] for count in (5, 3))
    again = [("started", 4), ("audio", 5), ("gap", 7), ("audio", 8), ("ended", 8)]
    assert kinds == [("started", -1), *five, *again, ("started", -1), *three, ("ended", 2)]
    assert [it["data"]["resumed"] for it in worker.of_type("started")] == [False, True, False]
    one, again, two = [it["run"] for it in worker.of_type("started")]
    assert one == again != two


async def test_signals_come_at_their_place(
    its_service: Service, start_node: Start, name: str
) -> None:
    worker = start_node("one")
    sender = await AgentstreamSender.dial(its_service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    await sender.say({"event": "dtmf", "stream_sid": name, "dtmf": {"digit": "5"}})
    await sender.send_chunks(name, 2)
    await sender.stop(name)
    await until(lambda: worker.of_type("ended"))
    (signal,) = worker.of_type("dtmf")
    assert (signal["seq"], signal["data"]) == (1, {"digit": "5"})


async def test_another_run_on_an_emptied_broker_is_not_taken_for_the_first(
    lab: BrokerLab, process: Any, start_node: Start, name: str
) -> None:
    """Its entries have the ids of the first one's, and there are more of them."""
    worker = start_node("one")
    dying = process(REDIS_URL=lab.url)
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(5))
    await until(lambda: worker.seqs(name) == [0, 1, 2, 3, 4])
    dying.kill()
    await asyncio.to_thread(lab.come_back_empty)
    again = await Caller.dial(process(REDIS_URL=lab.url).url)
    await again.start(name)
    await again.speak(*range(20))
    await again.end()
    await until(lambda: worker.of_type("ended"))
    first, second = dict.fromkeys(it["run"] for it in worker.of_type("started"))
    key = key_of(name)
    assert worker.frames == [(key, first, seq, pcm(seq)) for seq in range(5)] + [
        (key, second, seq, pcm(seq)) for seq in range(20)
    ]


CONSUMER, SAMPLES, HANDLER = re.findall(
    r"```js\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL
)
IMPORTS = """
import { writeFile } from "node:fs/promises";
import { toWav } from "rtaa-reader";
process.chdir(import.meta.dirname);
const recognise = (run, seq, audio) => console.log("audio", seq, audio.toString("base64"));
"""


@pytest.fixture
def start_script(lab: BrokerLab, tmp_path: Path) -> Iterator[Callable[[str], ExampleReader]]:
    """Run a script of the README; what it prints is in `one.jsonl`, and its files beside."""
    with ExitStack() as stack:

        def start(text: str) -> ExampleReader:
            assert text.count("redis://localhost:6379/0") == 1
            (tmp_path / "node_modules").mkdir()
            (tmp_path / "node_modules" / "rtaa-reader").symlink_to(CLIENT)
            script = tmp_path / "consumer.mjs"
            script.write_text(IMPORTS + text.replace("redis://localhost:6379/0", lab.url))
            reader = ExampleReader(["node", str(script)], tmp_path)
            stack.callback(reader.kill)
            return reader

        yield start


async def test_the_consumer_of_the_readme_hears_a_call_over_a_broker_that_is_killed(
    lab: BrokerLab,
    its_service: Service,
    start_script: Callable[[str], ExampleReader],
    tmp_path: Path,
    name: str,
) -> None:
    assert len(CONSUMER.strip().splitlines()) <= 10
    script = start_script(CONSUMER)
    call = PacedCall(its_service.url, name, 1, 0.01)

    def printed() -> list[list[str]]:
        return [line.split() for line in (tmp_path / "one.jsonl").read_text().splitlines()]

    await until(lambda: len(printed()) > 20)
    await asyncio.to_thread(lab.kill_and_restart)
    await call.end()
    await until(lambda: printed()[-1][0] == "ended")
    start, *frames, end = printed()
    assert (start[0], start[2], end[2]) == ("started", "8000", "ended")
    assert frames == [
        ["audio", str(seq), base64.b64encode(call.frame(seq)).decode()]
        for seq in range(call.frames)
    ]
    assert await asyncio.to_thread(script.stop) == 0


async def test_the_samples_of_the_readme_are_as_long_as_the_call(
    its_service: Service,
    start_script: Callable[[str], ExampleReader],
    tmp_path: Path,
    name: str,
) -> None:
    assert len(SAMPLES.strip().splitlines()) <= 10
    start_script(SAMPLES)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.end()

    def lines() -> list[list[str]]:
        return [line.split() for line in (tmp_path / "one.jsonl").read_text().splitlines()]

    seconds, rate = 0.2, 16_000
    await until(
        lambda: sum(len(line[3].split(",")) for line in lines()) == seconds * rate  # with the end
    )
    assert {line[0] for line in lines()} == {f"tenant-abc/{name}"}
    assert [int(line[2]) for line in lines()] == [*range(10), 9]


JOIN = CONSUMER[: CONSUMER.index("for await")]
LAG = """
await reader.run(async (call) => {
  for await (const event of call) {
    if (event.id === "1-10") {
      console.log(await call.lag(), await reader.lag());
      console.log(await call.commit(), call.position.entry);
    }
    if (event.type === "ended") console.log(await call.lag());
  }
});
"""


async def test_the_handler_of_the_readme_writes_a_wav_file(
    its_service: Service,
    start_script: Callable[[str], ExampleReader],
    tmp_path: Path,
    name: str,
) -> None:
    start_script(JOIN + HANDLER)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(0, 2)
    await caller.end()
    header = 44
    await until(lambda: [it.stat().st_size for it in tmp_path.glob("*.wav")] == [header + 960])
    (path,) = tmp_path.glob("*.wav")
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (8000, 1, 2)
        assert wav.readframes(480) == pcm(0) + bytes(320) + pcm(2)


FORMATS = """
for await (const event of reader) {
  const { media } = event.call;
  if (event.type === "ended") console.log(media.sample_rate, media.run === event.run);
}
"""


async def test_the_media_of_a_call_is_that_of_the_run_at_hand(
    its_service: Service,
    start_script: Callable[[str], ExampleReader],
    tmp_path: Path,
    name: str,
) -> None:
    for rate in (8_000, 16_000):  # both are there before they are read
        caller = await Caller.dial(its_service.url)
        await caller.start(name, sample_rate=rate)
        await caller.speak(*range(5))
        await caller.end()
    start_script(JOIN + FORMATS)
    printed = tmp_path / "one.jsonl"
    await until(lambda: printed.exists() and printed.read_text().count("\n") == 2)
    assert printed.read_text().split() == ["8000", "true", "16000", "true"]


async def test_lag_counts_what_is_not_handled_and_a_commit_is_kept(
    its_service: Service,
    start_script: Callable[[str], ExampleReader],
    tmp_path: Path,
    name: str,
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(*range(50))
    await caller.end()
    start_script(JOIN + LAG)
    printed = tmp_path / "one.jsonl"
    await until(lambda: printed.exists() and printed.read_text().count("\n") == 3)
    entries, handled = 52, 10  # with a start and an end; the frame in hand is not handled
    lag = (entries - handled) * 20
    assert printed.read_text().split() == [str(lag), str(lag), "true", "1-10", "20"]
