"""The example of docs/published.md, over real brokers that die and forget: each frame once."""

import asyncio
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from example_reader import ExampleReader
from group_workers import until_workers_wait
from published import entries
from running import Caller, Service, pcm
from speaking import speaking
from waiting import until

pytestmark = pytest.mark.long(40)

DOCS = Path(__file__).parents[2] / "docs" / "published.md"

MAX_LINES = 60
"""The example is to be read at a glance: it stays below."""

StartReader = Callable[..., ExampleReader]


@pytest.fixture
def start_reader(lab: BrokerLab, tmp_path: Path) -> Iterator[StartReader]:
    with ExitStack() as stack:

        def start(worker: str = "one", url: str = lab.url) -> ExampleReader:
            command = [sys.executable, "examples/read_calls.py", url, "asr", worker]
            reader = ExampleReader(command, tmp_path, worker)
            stack.callback(reader.kill)
            return reader

        yield start


def whole_call(key_name: str, run: str, frames: int) -> list[tuple[str, str, int, bytes]]:
    key = f"rtaa:audio:{{tenant-abc/{key_name}}}"
    return [(key, run, seq, pcm(seq)) for seq in range(frames)]


async def until_ended(reader: ExampleReader, runs: int = 1) -> None:
    await until(lambda: len(reader.of_type("ended")) >= runs)


async def until_asked_again(lab: BrokerLab) -> None:
    """Wait until a worker that follows a call has looked for more of it."""

    def times() -> int:
        with lab.client() as broker:
            stats: Any = broker.info("commandstats")
        return int(stats["cmdstat_xreadgroup"]["calls"])

    now = times()
    await until(lambda: times() >= now + 3)


async def test_a_resume_and_a_second_run_are_read_once_each_from_a_fresh_broker(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    await until(lambda: "NOGROUP" in reader.errors.read_text())  # there is no index yet
    first, resumed, second = [await Caller.dial(its_service.url) for _ in range(3)]
    await first.start(name)
    await first.speak(*range(8))
    await first.hear_ack(7)
    first.reset()
    await resumed.start(name, resume=True)
    await resumed.speak(*range(8, 15))
    await resumed.end()
    await second.start(name)
    await second.speak(*range(10))
    await second.end()
    await until_ended(reader, 2)
    with lab.client() as broker:
        run, again, other = [
            e["data"]["run"] for _, e in entries(broker, name) if e["type"] == "started"
        ]
    assert run == again != other
    assert reader.frames == whole_call(name, run, 15) + whole_call(name, other, 10)
    assert [e["run"] for e in reader.of_type("ended")] == [run, other]
    assert reader.stop() == 0


async def test_gaps_and_signals_are_printed_once_each_at_their_place(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    sender = await AgentstreamSender.dial(its_service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    await sender.say({"event": "dtmf", "stream_sid": name, "dtmf": {"digit": "5"}})
    await until(lambda: reader.of_type("dtmf"))
    await until_asked_again(lab)
    await sender.send_chunks(name, 4)
    await sender.stop(name)
    await until_ended(reader)
    assert [(e["type"], e["seq"]) for e in reader.events] == [
        ("started", -1), ("audio", 1), ("dtmf", 1), ("gap", 3), ("audio", 4), ("ended", 4),
    ]  # fmt: skip
    assert reader.of_type("gap")[0]["data"] == {"first_missing": 2, "missing": 2}


def come_back_younger(lab: BrokerLab) -> None:
    assert lab.come_back_younger() > 0


def evict(lab: BrokerLab, pattern: str) -> None:
    with lab.client() as broker:
        keys: Any = broker.keys(pattern)
    (key,) = keys
    assert lab.forget(key.decode()) == 1


FAULTS: dict[str, Callable[[BrokerLab], None]] = {
    "killed": BrokerLab.kill_and_restart,
    "younger": come_back_younger,
    "empty": BrokerLab.come_back_empty,
    "flushed": BrokerLab.forget_all_keys,
    "without its index": lambda lab: evict(lab, "rtaa:interactions"),
    "without the stream": lambda lab: evict(lab, "rtaa:audio:*"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_broker_loses_in_a_call_each_frame_is_read_once(
    lab: BrokerLab,
    its_service: Service,
    start_reader: StartReader,
    name: str,
    fault: str,
) -> None:
    """The call is resumed afterwards, and its stream has a second run."""
    reader = start_reader()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(reader.frames) >= 50)
        await asyncio.to_thread(FAULTS[fault], lab)
        before = len(sent)
        await until(lambda: its_service.get("/health/ready")[0] == 200)
        await until(lambda: len(reader.frames) >= before + 50)
    await caller.hear_ack(len(sent) - 1)
    caller.reset()
    resumed, second = [await Caller.dial(its_service.url) for _ in range(2)]
    await resumed.start(name, resume=True)
    await resumed.speak(*range(len(sent), len(sent) + 10))
    ledger = await resumed.end()
    await second.start(name)
    await second.speak(*range(10))
    await second.end()
    await until_ended(reader, 2)
    run, other = dict.fromkeys(event["run"] for event in reader.events)
    assert reader.frames == whole_call(name, run, len(sent) + 10) + whole_call(name, other, 10)
    assert ledger["lost"] == 0


async def test_another_run_on_an_emptied_broker_is_not_taken_for_the_first(
    lab: BrokerLab, process: Any, start_reader: StartReader, name: str
) -> None:
    """Its entries have the ids of the first one's, and there are more of them."""
    reader = start_reader()
    dying = process(REDIS_URL=lab.url)
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(5))
    await until(lambda: reader.seqs(name) == [0, 1, 2, 3, 4])
    reader.process.send_signal(signal.SIGSTOP)  # what it finds next is the other run, complete
    dying.kill()
    await asyncio.to_thread(lab.come_back_empty)
    again = await Caller.dial(process(REDIS_URL=lab.url).url)
    await again.start(name)
    await again.speak(*range(20))
    await again.end()
    reader.process.send_signal(signal.SIGCONT)
    await until_ended(reader)
    first, second = dict.fromkeys(event["run"] for event in reader.events)
    assert reader.frames == whole_call(name, first, 5) + whole_call(name, second, 20)


async def test_a_call_that_had_ended_when_the_broker_came_back_empty_is_not_read_again(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    before, after = f"{name}-before", f"{name}-after"
    caller = await Caller.dial(its_service.url)
    await caller.start(before)
    await caller.speak(*range(5), *range(8, 20))
    await caller.end()
    await until_ended(reader)
    await asyncio.to_thread(lab.come_back_empty)
    with lab.client() as broker:
        await until(lambda: [e for _, e in entries(broker, before) if e["type"] == "ended"])
    caller = await Caller.dial(its_service.url)
    await caller.start(after)
    await caller.speak(*range(10))
    await caller.end()
    await until(lambda: reader.of_type("ended")[-1]["key"].endswith(f"{after}}}"))
    assert reader.seqs(before) == [*range(5), *range(8, 20)]
    assert [gap["seq"] for gap in reader.of_type("gap")] == [7]
    assert reader.seqs(after) == list(range(10))


async def test_a_call_that_the_index_has_lost_for_good_is_read_on(
    lab: BrokerLab, start_service: Any, start_reader: StartReader, name: str
) -> None:
    """Its notice is older than what a service announces again."""
    service: Service = start_service(REDIS_URL=lab.url, REWIND_SECONDS="0")
    reader = start_reader()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(reader.frames) >= 50)
        await asyncio.to_thread(evict, lab, "rtaa:interactions")
        await until(lambda: reader.errors.read_text().count("NOGROUP") >= 2)
        before = len(sent)
        await until(lambda: len(reader.frames) >= before + 50)
    await caller.end()
    await until_ended(reader)
    (run,) = {event["run"] for event in reader.events}
    assert reader.frames == whole_call(name, run, len(sent))


async def test_connections_that_are_lost_cost_no_call_and_repeat_no_event(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    with ChaosProxy(lab.port) as proxy, lab.client() as broker:
        reader = start_reader(url=f"redis://127.0.0.1:{proxy.port}/0")
        await until_workers_wait(lab, 1)
        proxy.swallow_replies()
        caller = await Caller.dial(its_service.url)
        await caller.start(name)  # it is announced to the worker, which never hears of it
        await until(lambda: broker.xpending("rtaa:interactions", "asr")["pending"] == 1)
        proxy.heal()
        async with speaking(caller) as sent:
            for lost in range(1, 4):
                await until(lambda lost=lost: len(reader.frames) >= 50 * lost)  # type: ignore[misc]
                proxy.reset()
        await caller.end()
        await until_ended(reader)
        (run,) = {event["run"] for event in reader.events}
        assert reader.frames == whole_call(name, run, len(sent))
        assert [event["type"] for event in reader.events if event["type"] != "audio"] == [
            "started",
            "ended",
        ]
        await until(lambda: broker.xpending("rtaa:interactions", "asr")["pending"] == 0)


async def test_two_workers_share_the_calls_and_their_resumptions_and_lose_none(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    readers = [start_reader("one"), start_reader("two")]
    await until_workers_wait(lab, 2)
    names = [f"{name}-{n}" for n in range(4)]
    for first in range(0, 40, 10):
        for call in names:
            caller = await Caller.dial(its_service.url)
            await caller.start(call, resume=True)
            await caller.speak(*range(first, first + 10))
            await caller.hear_ack(first + 9)
            caller.reset()
    await until(lambda: sum(len(reader.of_type("ended")) for reader in readers) == len(names))
    assert all(reader.frames for reader in readers)
    frames = [frame for reader in readers for frame in reader.frames]
    runs = {key: run for key, run, _, _ in frames}
    assert sorted(frames) == sorted(
        frame
        for call in names
        for frame in whole_call(call, runs[f"rtaa:audio:{{tenant-abc/{call}}}"], 40)
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_worker_ends_on_a_signal_and_says_nothing_about_it(
    lab: BrokerLab, start_reader: StartReader, number: signal.Signals
) -> None:
    reader = start_reader()
    await until_workers_wait(lab, 1)
    told = reader.errors.read_text()
    reader.process.send_signal(number)
    assert await asyncio.to_thread(reader.process.wait, 20) == 0
    assert reader.errors.read_text() == told


async def test_a_worker_that_starts_again_under_its_name_reads_its_open_calls_from_their_start(
    its_service: Service, start_reader: StartReader, name: str
) -> None:
    leaving = start_reader()
    over, caller = [await Caller.dial(its_service.url) for _ in range(2)]
    await over.start(f"{name}-over")
    await over.end()
    await until_ended(leaving)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(leaving.frames) >= 50)
        assert leaving.stop() == 0
        again = start_reader()
        await until(lambda: len(again.frames) >= 50)
    await caller.end()
    await until_ended(again)
    (run,) = {event["run"] for event in again.events}
    assert again.frames == whole_call(name, run, len(sent))


SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
BEFORE_SNIPPET = """
import base64, json, sys
sys.path.insert(0, "examples")
def recognise(key, run, seq, audio):
    audio = base64.b64encode(audio).decode()
    print(json.dumps([key, run, None, "audio", seq, audio]), flush=True)
"""


@pytest.mark.parametrize("fault", ["killed", "younger", "empty"])
@pytest.mark.parametrize(("language", "text"), SNIPPETS, ids=[it[0] for it in SNIPPETS])
async def test_a_snippet_of_the_docs_reads_a_call_over_a_broker_that_fails(
    lab: BrokerLab,
    its_service: Service,
    tmp_path: Path,
    name: str,
    language: str,
    text: str,
    fault: str,
) -> None:
    assert "redis://localhost:6379/0" in text
    text = text.replace("redis://localhost:6379/0", lab.url)
    command = {
        "sh": ["/bin/sh", "-c", f"exec {text.replace('python', sys.executable, 1)}"],
        "python": [sys.executable, "-c", BEFORE_SNIPPET + text],
    }[language]
    reader = ExampleReader(command, tmp_path)
    try:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        async with speaking(caller) as sent:
            await until(lambda: len(reader.frames) >= 25)
            await asyncio.to_thread(FAULTS[fault], lab)
        await caller.end()
        await until(lambda: len(reader.frames) >= len(sent))
        (run,) = {event["run"] for event in reader.events}
        assert reader.frames == whole_call(name, run, len(sent))
    finally:
        reader.kill()


def test_the_example_is_short_and_needs_redis_py_alone() -> None:
    text = (DOCS.parents[1] / "examples" / "read_calls.py").read_text()
    assert len(text.splitlines()) < MAX_LINES
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"redis"}


def test_the_docs_have_the_snippets_that_are_tried() -> None:
    assert [language for language, _ in SNIPPETS] == ["sh", "python"]
    assert DOCS.read_text().count("```") == 2 * len(SNIPPETS)
