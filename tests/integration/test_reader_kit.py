"""rtaa-reader over real brokers that die and forget: each frame is committed once, by one owner."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from example_venv import ExampleVenv, count_code
from history import SentStream
from kit_readers import KitReader, judge
from kit_trial import trial, workers
from redis.asyncio import RedisCluster
from resuming_sender import ResumingSender
from running import Caller, Service, pcm
from valkey_cluster import ValkeyCluster
from waiting import freeze_process, until

from rtaa_reader import AsyncReader, Audio, Ended, Event, Options, Reader, Started

ROOT = Path(__file__).parents[2]
LEASE = 2.0
MAX_LINES, MAX_EXAMPLE_LINES = 470, 10


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
def start_reader(lab: BrokerLab, tmp_path: Path) -> Iterator[Callable[..., KitReader]]:
    started: list[KitReader] = []

    def start(worker: str, lease: float = LEASE) -> KitReader:
        started.append(KitReader(lab.url, tmp_path, worker, lease))
        return started[-1]

    yield start
    for reader in started:
        reader.kill()


class Reading:
    """A worker in this process; `events` are what it has read."""

    def __init__(self, reader: AsyncReader) -> None:
        self.reader = reader
        self.events: list[Event] = []

    @property
    def seqs(self) -> list[tuple[str, int]]:
        return [(it.run, it.seq) for it in self.events if isinstance(it, Audio)]

    def of(self, kind: type[Event]) -> list[Event]:
        return [it for it in self.events if isinstance(it, kind)]

    async def read(self) -> None:
        async for event in self.reader:
            self.events.append(event)


@asynccontextmanager
async def reading(
    lab: BrokerLab, worker: str = "one", lease: float = LEASE
) -> AsyncIterator[Reading]:
    async with AsyncReader(lab.url, "asr", worker, Options(lease_seconds=lease)) as reader:
        found = Reading(reader)
        task = asyncio.create_task(found.read())
        try:
            yield found
            assert not task.done(), task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def speaking(caller: Caller) -> AsyncIterator[list[int]]:
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


async def test_with_a_worker_killed_and_a_broker_killed_twice_and_emptied_each_frame_has_one_owner(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    assert await trial(tmp_path, calls=8, frames=250, pace=0.02, note=told.append) == []


def come_back_younger(lab: BrokerLab) -> None:
    assert lab.come_back_younger() > 0


FAULTS: dict[str, Callable[[BrokerLab], object]] = {
    "killed": BrokerLab.kill_and_restart,
    "younger": come_back_younger,
    "empty": BrokerLab.come_back_empty,
    "flushed": BrokerLab.forget_all_keys,
    "without its index": lambda lab: lab.forget("rtaa:interactions"),
    "without the stream": lambda lab: lab.forget(*keys(lab, "rtaa:audio:*")),
    "without the leases": lambda lab: lab.forget(*keys(lab, "rtaa:reader:*")),
}


def keys(lab: BrokerLab, pattern: str) -> list[str]:
    with lab.client() as broker:
        found: Any = broker.keys(pattern)
    return [key.decode() for key in found]


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_broker_forgets_in_a_call_each_frame_is_read_once(
    lab: BrokerLab, its_service: Service, name: str, fault: str
) -> None:
    """The call is resumed afterwards, and its stream has a second run."""
    async with reading(lab) as one:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        async with speaking(caller) as said:
            await until(lambda: len(one.seqs) >= 50)
            await asyncio.to_thread(FAULTS[fault], lab)
            before = len(said)
            await until(lambda: len(one.seqs) >= before + 50)
        await caller.hear_ack(len(said) - 1)
        caller.vanish()
        resumed, second = [await Caller.dial(its_service.url) for _ in range(2)]
        await resumed.start(name, resume=True)
        await resumed.speak(*range(len(said), len(said) + 10))
        await resumed.end()
        await second.start(name)
        await second.speak(*range(10))
        await second.end()
        await until(lambda: len(one.of(Ended)) >= 2)
    run, other = dict.fromkeys(event.run for event in one.events)
    assert one.seqs == [(run, n) for n in range(len(said) + 10)] + [(other, n) for n in range(10)]
    assert [it.audio for it in one.events if isinstance(it, Audio) and it.run == run] == [
        pcm(n) for n in range(len(said) + 10)
    ]
    assert [it.run for it in one.of(Ended)] == [run, other]
    starts = [it for it in one.of(Started) if isinstance(it, Started) and not it.resumed]
    assert [it.run for it in starts] == [run, other]


async def test_a_worker_that_leaves_hands_its_calls_over_at_once(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as said, reading(lab, "two", 3.0) as two:
        async with reading(lab, "one", 3.0) as one:
            await until(lambda: len(one.seqs) + len(two.seqs) >= 50)
        async with reading(lab, "three", 3.0) as three:
            await until(lambda: len(two.seqs) + len(three.seqs) >= 50)
    await caller.end()
    async with reading(lab, "four", 3.0) as four:
        await until(lambda: len(four.of(Ended)) + len(two.of(Ended)) + len(three.of(Ended)) == 1)
    frames = [seq for it in (one, two, three, four) for _, seq in it.seqs]
    assert sorted(frames) == list(range(len(said)))


async def test_resumes_and_second_runs_stay_with_the_owner(
    lab: BrokerLab, its_service: Service, start_reader: Callable[..., KitReader], name: str
) -> None:
    readers = [start_reader("one"), start_reader("two")]
    await until(lambda: workers(lab) == 2)
    streams = [SentStream(f"{name}-{n}") for n in range(6)]
    senders = [ResumingSender(its_service.url, pace=0.01) for _ in streams]

    async def cut() -> None:
        for sender in senders * 3:
            await asyncio.sleep(0.1)
            sender.cut()

    async with asyncio.TaskGroup() as group:
        group.create_task(cut())
        for sender, stream in zip(senders, streams, strict=True):
            group.create_task(sender.call(stream, 300))
    await until(lambda: sum(len(it.of_type("ended")) for it in readers) == len(streams))
    assert judge(streams, readers) == []
    assert not set(readers[0].frames) & set(readers[1].frames)


async def test_a_worker_that_was_frozen_finds_its_call_taken_over_and_commits_nothing_of_it(
    lab: BrokerLab, its_service: Service, start_reader: Callable[..., KitReader], name: str
) -> None:
    frozen = start_reader("frozen")
    await until(lambda: workers(lab) == 1)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as said:
        await until(lambda: len(frozen.of_type("audio")) >= 30)
        freeze_process(frozen.process.pid)
        other = start_reader("other")
        await until(lambda: len(other.of_type("audio")) >= 30)
        frozen.process.send_signal(signal.SIGCONT)
        await until(lambda: frozen.said("lost"))
        before = len(said)
        await until(lambda: len(other.of_type("audio")) >= before - 30 + 50)
    await caller.end()
    await until(lambda: other.of_type("ended"))
    (run,) = other.frames
    assert frozen.committed[run] < min(seq for seq, _ in other.frames[run])
    assert [seq for seq, _ in other.frames[run]][-1] == len(said) - 1
    read = {seq for it in (frozen, other) for seq, _ in it.frames[run]}
    assert read == set(range(len(said)))


async def test_on_an_emptied_broker_calls_wait_for_their_owner(
    lab: BrokerLab, its_service: Service, start_reader: Callable[..., KitReader], name: str
) -> None:
    owner = start_reader("owner", lease=10.0)
    await until(lambda: workers(lab) == 1)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as said:
        await until(lambda: len(owner.of_type("audio")) >= 30)
        other = start_reader("other", lease=10.0)
        await until(lambda: workers(lab) == 2)
        freeze_process(owner.process.pid)
        await asyncio.to_thread(lab.come_back_empty)
        await until(lambda: keys(lab, "rtaa:reader:asr") and keys(lab, "rtaa:interactions"))
        with pytest.raises(AssertionError):  # it does not take what it finds there
            await until(lambda: other.of_type("audio"), 1.0)
        owner.process.send_signal(signal.SIGCONT)
        before = len(said)
        await until(lambda: len(owner.of_type("audio")) >= before + 30)
    await caller.end()
    await until(lambda: owner.of_type("ended"))
    (frames,) = owner.frames.values()
    assert [seq for seq, _ in frames] == list(range(len(said)))
    assert other.lines == []


async def test_a_call_that_was_read_before_the_broker_was_emptied_is_not_read_by_another_worker(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    def is_acknowledged() -> bool:
        with lab.client() as client:
            broker: Any = client
            if not broker.exists("rtaa:interactions"):
                return False
            (group,) = broker.xinfo_groups("rtaa:interactions") or [{"lag": 1}]
            return bool(broker.xlen("rtaa:interactions") > 1) and not (
                group["lag"] or group["pending"]
            )

    async with reading(lab, "one") as one, reading(lab, "two") as two:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.end()
        await until(lambda: one.of(Ended) or two.of(Ended))
        await until(is_acknowledged)
        await asyncio.to_thread(lab.come_back_empty)
        await until(is_acknowledged)
        frames = [seq for _, seq in one.seqs + two.seqs]
        assert frames == list(range(20))
        assert len(one.of(Ended) + two.of(Ended)) == 1


async def test_what_was_read_under_an_older_lease_is_not_committed_under_a_new_one(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(19)
    lost: list[str] = []
    options = Options(lease_seconds=0.5, autocommit=False, on_lost=lost.append)
    async with AsyncReader(lab.url, "asr", "slow", options) as slow:
        events = [await anext(slow) for _ in range(16)]
        assert await slow.commit(events[5])
        async with AsyncReader(lab.url, "asr", "quick", options) as quick:
            after = [await anext(quick) for _ in range(5)]
            assert [it.seq for it in after] == [5, 6, 7, 8, 9]
            assert await quick.commit(after[-1])
        assert (await anext(slow)).seq == 10
        assert lost == [f"tenant-abc/{name}"]
        assert not await slow.commit(events[15])
        await caller.end()
        assert [(await anext(slow)).seq for _ in range(10)] == [*range(11, 20), 19]


def test_a_group_has_a_name_that_fits_into_a_key() -> None:
    with pytest.raises(ValueError, match="letters"):
        Reader("redis://localhost", "a{b", "one")


async def test_the_documented_rights_are_enough(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    document = (ROOT / "docs" / "reading.md").read_text()
    rule = document.partition("<!-- the-rule -->\n```\n")[2].partition("\n")[0]
    words = rule.replace(" READER ", " kit ").replace(">PASSWORD", ">s3cret").split()
    with lab.client() as client:
        broker: Any = client
        broker.execute_command(*words)
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        url = lab.url.replace("redis://", "redis://kit:s3cret@")
        async with AsyncReader(url, "asr", "one", Options(lease_seconds=0.3)) as reader:
            found = Reading(reader)
            task = asyncio.create_task(found.read())
            async with speaking(caller):
                await until(lambda: len(found.seqs) >= 100)
            await caller.end()
            await until(lambda: found.of(Ended))
            assert await reader.lag() is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        refused = {entry["object"] for entry in broker.acl_log()}
    assert refused <= {"client|setinfo"}  # redis-py does without


async def test_calls_of_a_cluster_are_read_whatever_their_slots(
    cluster: ValkeyCluster, start_service: Any, name: str
) -> None:
    service: Service = start_service(REDIS_URL=cluster.url)
    names = [f"{name}-{n}" for n in range(6)]
    client = RedisCluster("127.0.0.1", cluster.nodes[0].port, protocol=2)
    async with client, AsyncReader(client, "asr", "one", Options(lease_seconds=0.5)) as reader:
        found = Reading(reader)
        task = asyncio.create_task(found.read())
        for call in names:
            caller = await Caller.dial(service.url)
            await caller.start(call)
            await caller.speak(*range(20))
            await caller.end()
        await until(lambda: len(found.of(Ended)) == len(names))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    read = [(it.stream, it.seq) for it in found.events if isinstance(it, Audio)]
    assert sorted(read) == [(f"tenant-abc/{call}", seq) for call in names for seq in range(20)]


async def test_lag_is_the_speech_that_is_not_committed(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    options = Options(lease_seconds=LEASE, autocommit=False)
    async with AsyncReader(lab.url, "asr", "one", options) as reader:
        events = [await anext(reader) for _ in range(11)]
        assert await reader.commit(events[6])
        assert await reader.lag() == {f"tenant-abc/{name}": 4 * 20.0}
        assert await reader.commit(events[10])
        assert await reader.lag() == {f"tenant-abc/{name}": 0.0}
        await caller.end()
        assert await reader.commit(await anext(reader))


SNIPPETS = {
    path: re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)
    for path in ("clients/python/README.md", "docs/reading.md")
}


@pytest.fixture(scope="module")
def kit_venv(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    return ExampleVenv(ROOT / "clients" / "python", tmp_path_factory.mktemp("kit"))


@pytest.mark.parametrize("path", SNIPPETS)
async def test_a_snippet_of_the_docs_reads_a_call_with_the_wheel(
    lab: BrokerLab,
    its_service: Service,
    kit_venv: ExampleVenv,
    tmp_path: Path,
    path: str,
    name: str,
) -> None:
    (text,) = SNIPPETS[path]
    assert "redis://localhost:6379/0" in text
    program = text.replace("redis://localhost:6379/0", lab.url)
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([kit_venv.python, "-c", program], stdout=out)
    try:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.end()

        def printed() -> list[list[str]]:
            lines = (tmp_path / "out").read_text().splitlines(keepends=True)
            return [line.split(maxsplit=4) for line in lines if line.endswith("\n")]

        await until(lambda: any(line[2] == "19" for line in printed()))
        if "Resampler" in text:
            samples = [sample for line in printed() for sample in json.loads(line[4])]
            assert len(samples) == 20 * 320
        else:
            assert [int(line[2]) for line in printed()] == list(range(20))
    finally:
        process.kill()
        process.wait()


def test_the_first_example_takes_ten_lines_and_the_kit_few_and_redis_py_alone() -> None:
    (text,) = SNIPPETS["clients/python/README.md"]
    assert len([line for line in text.splitlines() if line]) <= MAX_EXAMPLE_LINES
    sources = list((ROOT / "clients/python/src").rglob("*.py"))
    assert sum(count_code(path.read_text(encoding="utf-8")) for path in sources) <= MAX_LINES
    for path in sources:
        found = set(re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        allowed = {"redis", "rtaa_reader", *(["numpy", "soxr"] * (path.stem == "resample"))}
        assert found - sys.stdlib_module_names <= allowed, path
