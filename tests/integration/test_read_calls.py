"""The example of docs/published.md, over real brokers that die and forget: each frame once."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from example_reader import ExampleReader
from published import entries
from running import Caller, Service, pcm
from waiting import until

DOCS = Path(__file__).parents[2] / "docs" / "published.md"

PAGE = 100
"""Events that the example notes at once: so many may come again when it is killed."""

TAKEOVER_SECONDS = 60.0

StartReader = Callable[..., ExampleReader]


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab(appendfsync="everysec") as lab:
        yield lab


@pytest.fixture
def its_service(lab: BrokerLab, start_service: Any) -> Service:
    service: Service = start_service(
        REDIS_URL=lab.url, RESUME_SECONDS="3", ACK_INTERVAL="1", DRAIN_SECONDS="1"
    )
    return service


@pytest.fixture
def start_reader(lab: BrokerLab, tmp_path: Path) -> Iterator[StartReader]:
    with ExitStack() as stack:

        def start(worker: str = "one") -> ExampleReader:
            command = [sys.executable, "examples/read_calls.py", lab.url, "asr", worker]
            reader = ExampleReader(command, tmp_path, worker)
            stack.callback(reader.kill)
            return reader

        yield start


@asynccontextmanager
async def speaking(caller: Caller) -> AsyncIterator[list[int]]:
    """Frames go out all the time, as in a call; how many went is known at the end."""
    said: list[int] = []

    async def speak() -> None:
        while True:
            await caller.speak(len(said))
            said.append(len(said))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(speak())
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def whole_call(key_name: str, run: str, frames: int) -> list[tuple[str, str, int, bytes]]:
    key = f"rtaa:audio:{{tenant-abc/{key_name}}}"
    return [(key, run, seq, pcm(seq)) for seq in range(frames)]


async def until_ended(reader: ExampleReader, runs: int = 1) -> None:
    await until(lambda: len(reader.of_type("ended")) >= runs, TAKEOVER_SECONDS)


async def until_both_wait(lab: BrokerLab) -> None:
    """Wait until two workers ask for calls: one that has a call rarely takes the next one, too."""

    def workers() -> int:
        with lab.client() as broker:
            try:
                return len(broker.xinfo_consumers("rtaa:interactions", "asr"))
            except redis.ResponseError:  # there is no index yet
                return 0

    await until(lambda: workers() == 2)


async def test_a_resume_and_a_second_run_are_read_once_each_from_a_fresh_broker(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    await until(lambda: "NOGROUP" in reader.errors.read_text())  # there is no index yet
    first, resumed, second = [await Caller.dial(its_service.url) for _ in range(3)]
    await first.start(name)
    await first.speak(*range(8))
    await first.hear_ack(7)
    first.vanish()
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


async def test_gaps_and_signals_are_printed_at_their_place(
    its_service: Service, start_reader: StartReader, name: str
) -> None:
    reader = start_reader()
    sender = await AgentstreamSender.dial(its_service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    await sender.say({"event": "dtmf", "stream_sid": name, "dtmf": {"digit": "5"}})
    await sender.send_chunks(name, 4)
    await sender.stop(name)
    await until_ended(reader)
    told = [(e["type"], e.get("data", {}).get("missing")) for e in reader.events]
    assert told == [
        ("started", None), ("audio", None), ("dtmf", None), ("gap", 2), ("audio", None),
        ("ended", None),
    ]  # fmt: skip


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
async def test_whatever_the_broker_forgets_in_a_call_each_frame_is_read_once(
    lab: BrokerLab,
    its_service: Service,
    start_reader: StartReader,
    name: str,
    fault: str,
) -> None:
    reader = start_reader()
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as said:
        await until(lambda: len(reader.frames) >= 50)
        await asyncio.to_thread(FAULTS[fault], lab)
        before = len(said)
        await until(lambda: its_service.get("/health/ready")[0] == 200)
        await until(lambda: len(reader.frames) >= before + 50)
    ledger = await caller.end()
    await until_ended(reader)
    (run,) = {event["run"] for event in reader.events}
    assert reader.frames == whole_call(name, run, len(said))
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
    dying.kill()
    await asyncio.to_thread(lab.come_back_empty)
    again = await Caller.dial(process(REDIS_URL=lab.url).url)
    await again.start(name)
    await again.speak(*range(20))
    await again.end()
    await until_ended(reader)
    first, second = dict.fromkeys(event["run"] for event in reader.events)
    assert reader.frames == whole_call(name, first, 5) + whole_call(name, second, 20)


async def test_a_resumption_is_read_by_one_of_two_workers(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    readers = [start_reader("one"), start_reader("two")]
    await until_both_wait(lab)
    for first in range(0, 60, 10):
        caller = await Caller.dial(its_service.url)
        await caller.start(name, resume=True)
        await caller.speak(*range(first, first + 10))
        await caller.hear_ack(first + 9)
        caller.vanish()
    await until(lambda: any(reader.of_type("ended") for reader in readers))
    await until(lambda: sum(len(reader.frames) for reader in readers) >= 60)
    frames = sorted(frame for reader in readers for frame in reader.frames)
    (run,) = {event["run"] for reader in readers for event in reader.events}
    assert frames == whole_call(name, run, 60)


async def test_a_worker_that_is_asked_to_leave_repeats_nothing(
    its_service: Service, start_reader: StartReader, name: str
) -> None:
    leaving = start_reader("one")
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as said:
        await until(lambda: len(leaving.frames) >= 50)
        assert leaving.stop() == 0
        staying = start_reader("two")
        await until(lambda: len(staying.frames) >= 50, TAKEOVER_SECONDS)
    await caller.end()
    await until_ended(staying)
    (run,) = {event["run"] for event in [*leaving.events, *staying.events]}
    assert leaving.frames + staying.frames == whole_call(name, run, len(said))


async def test_the_calls_of_a_killed_worker_are_read_on_by_the_other(
    lab: BrokerLab, its_service: Service, start_reader: StartReader, name: str
) -> None:
    dead, living = start_reader("one"), start_reader("two")
    await until_both_wait(lab)
    names = [f"{name}-{n}" for n in range(4)]
    callers = [await Caller.dial(its_service.url) for _ in names]
    async with AsyncExitStack() as stack:
        for known, (caller, call) in enumerate(zip(callers, names, strict=True), 1):
            await caller.start(call)
            await until(lambda known=known: len(dead.events + living.events) == known)  # type: ignore[misc]
        said = [await stack.enter_async_context(speaking(caller)) for caller in callers]
        await until(lambda: all(dead.seqs(call) or living.seqs(call) for call in names))
        orphans = [call for call in names if dead.seqs(call)]
        assert 0 < len(orphans) < len(names), "one worker has taken all"
        dead.kill()
        await until(lambda: all(len(living.seqs(call)) >= 50 for call in names), TAKEOVER_SECONDS)
    for caller in callers:
        await caller.end()
    await until_ended(living, len(names))
    runs = {event["key"]: event["run"] for event in living.events}
    found = set(dead.frames + living.frames)
    for call, frames in zip(names, said, strict=True):
        key = f"rtaa:audio:{{tenant-abc/{call}}}"
        assert sorted(frame for frame in found if frame[0] == key) == whole_call(
            call, runs[key], len(frames)
        )
        assert living.seqs(call) == sorted(set(living.seqs(call)))
        assert len(dead.seqs(call)) + len(living.seqs(call)) - len(frames) <= (
            PAGE if call in orphans else 0
        )


SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
PRELUDE = """
import sys
sys.path.insert(0, "examples")
def recognise(key, run, seq, audio):
    print(json.dumps({"type": "audio", "key": key, "run": run, "seq": seq,
                      "audio": base64.b64encode(audio).decode()}), flush=True)
import base64, json
"""


@pytest.mark.parametrize(("language", "text"), SNIPPETS, ids=[it[0] for it in SNIPPETS])
async def test_a_snippet_of_the_docs_reads_a_call(
    lab: BrokerLab, its_service: Service, tmp_path: Path, name: str, language: str, text: str
) -> None:
    assert "redis://localhost:6379/0" in text
    text = text.replace("redis://localhost:6379/0", lab.url)
    command = {
        "sh": ["/bin/sh", "-c", f"exec {text.replace('python', sys.executable, 1)}"],
        "python": [sys.executable, "-c", PRELUDE + text],
    }[language]
    reader = ExampleReader(command, tmp_path)
    try:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(25))
        await caller.end()
        await until(lambda: len(reader.frames) >= 25)
        (run,) = {event["run"] for event in reader.events}
        assert reader.frames == whole_call(name, run, 25)
    finally:
        reader.kill()


def test_the_docs_have_the_snippets_that_are_tried() -> None:
    assert [language for language, _ in SNIPPETS] == ["sh", "python"]
    assert DOCS.read_text().count("```") == 2 * len(SNIPPETS)
