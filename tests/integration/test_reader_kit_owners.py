"""Workers of rtaa-reader that leave, freeze or compete: one of them owns a call."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from group_workers import workers
from history import SentStream
from kit_readers import KitReader, judge
from kit_reading import LEASE, Reading, keys, reading, through
from resuming_sender import ResumingSender
from running import Caller, Service, ServiceProcess
from speaking import speaking
from waiting import freeze_process, until

from rtaa_reader import AsyncReader, Ended, Event, Options
from rtaa_reader.async_reader import PAGE_ENTRIES

pytestmark = pytest.mark.long(40)


@pytest.fixture
def start_reader(lab: BrokerLab, tmp_path: Path) -> Iterator[Callable[..., KitReader]]:
    started: list[KitReader] = []

    def start(worker: str, lease: float = LEASE, url: str = lab.url) -> KitReader:
        started.append(KitReader(url, tmp_path, worker, lease))
        return started[-1]

    yield start
    for reader in started:
        reader.kill()


def worker_of(lab: BrokerLab, name: str) -> bytes | None:
    """Return the worker whose lease a call has."""
    with lab.client() as client:
        broker: Any = client
        found: bytes | None = broker.hget(f"rtaa:reader:asr:{{tenant-abc/{name}}}", "worker")
    return found


async def test_a_worker_that_leaves_hands_its_calls_over_at_once(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent, reading(lab, "two", 3.0) as two:
        async with reading(lab, "one", 3.0) as one:
            await until(lambda: len(one.seqs) + len(two.seqs) >= 50)
        async with reading(lab, "three", 3.0) as three:
            await until(lambda: len(two.seqs) + len(three.seqs) >= 50)
    await caller.end()
    async with reading(lab, "four", 3.0) as four:
        await until(lambda: len(four.of(Ended)) + len(two.of(Ended)) + len(three.of(Ended)) == 1)
    frames = [seq for it in (one, two, three, four) for _, seq in it.seqs]
    assert sorted(frames) == list(range(len(sent)))


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
    async with speaking(caller) as sent:
        await until(lambda: len(frozen.of_type("audio")) >= 30)
        freeze_process(frozen.process.pid)
        other = start_reader("other")
        await until(lambda: len(other.of_type("audio")) >= 30)
        frozen.process.send_signal(signal.SIGCONT)
        await until(lambda: frozen.told("lost"))
        before = len(sent)
        await until(lambda: len(other.of_type("audio")) >= before - 30 + 50)
    await caller.end()
    await until(lambda: other.of_type("ended"))
    (run,) = other.frames
    assert frozen.committed[run] < min(seq for seq, _ in other.frames[run])
    assert [seq for seq, _ in other.frames[run]][-1] == len(sent) - 1
    read = {seq for it in (frozen, other) for seq, _ in it.frames[run]}
    assert read == set(range(len(sent)))


async def test_on_an_emptied_broker_calls_wait_for_their_owner(
    lab: BrokerLab, its_service: Service, start_reader: Callable[..., KitReader], name: str
) -> None:
    owner = start_reader("owner", lease=10.0)
    await until(lambda: workers(lab) == 1)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    async with speaking(caller) as sent:
        await until(lambda: len(owner.of_type("audio")) >= 30)
        other = start_reader("other", lease=10.0)
        await until(lambda: workers(lab) == 2)
        freeze_process(owner.process.pid)
        await asyncio.to_thread(lab.come_back_empty)
        await until(lambda: keys(lab, "rtaa:reader:asr") and keys(lab, "rtaa:interactions"))
        with pytest.raises(AssertionError):  # it does not take what it finds there
            await until(lambda: other.of_type("audio"), 1.0)
        owner.process.send_signal(signal.SIGCONT)
        before = len(sent)
        await until(lambda: len(owner.of_type("audio")) >= before + 30)
    await caller.end()
    await until(lambda: owner.of_type("ended"))
    (frames,) = owner.frames.values()
    assert [seq for seq, _ in frames] == list(range(len(sent)))
    assert other.lines == []


async def test_a_call_stays_with_its_owner_if_the_broker_is_emptied_while_another_worker_claims_it(
    lab: BrokerLab, its_service: Service, start_reader: Callable[..., KitReader], name: str
) -> None:
    """The other one has looked whether the broker was emptied, and it had not been."""
    owner = start_reader("owner")
    await until(lambda: workers(lab) == 1)
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    with ChaosProxy(lab.port) as proxy, lab.client() as client:
        broker: Any = client
        async with speaking(caller) as sent:
            await until(lambda: len(owner.of_type("audio")) >= 30)
            proxy.hold(b"EVAL")
            other = start_reader("other", url=through(proxy, lab))
            await until(lambda: proxy.is_holding)
            freeze_process(owner.process.pid)
            lab.forget_all_keys()
            proxy.hold(b"EVAL")
            await until(lambda: worker_of(lab, name) == b"other")
            await until(lambda: proxy.is_holding and broker.exists("rtaa:reader:asr"))
            owner.process.send_signal(signal.SIGCONT)
            proxy.heal()
            before = len(sent)
            await until(lambda: len(owner.of_type("audio")) >= before + 30)
        await caller.end()
        await until(lambda: owner.of_type("ended"))
    (frames,) = owner.frames.values()
    assert [seq for seq, _ in frames] == list(range(len(sent)))
    assert other.lines == []


async def test_an_owner_that_finds_the_lease_of_another_on_an_emptied_broker_waits_for_its_end(
    lab: BrokerLab, process: Callable[..., ServiceProcess], name: str
) -> None:
    """No notice tells it that the broker was emptied: the service is gone."""
    lease = f"rtaa:reader:asr:{{tenant-abc/{name}}}"
    with ChaosProxy(lab.port) as proxy, lab.client() as client:
        broker: Any = client
        async with reading(lab, "one", url=through(proxy, lab)) as one:
            service = process(REDIS_URL=lab.url)
            caller = await Caller.dial(service.url)
            await caller.start(name)
            await caller.speak(*range(5))
            await until(lambda: len(one.seqs) == 5)
            service.kill()
            proxy.hold(b"EVAL")
            await until(lambda: proxy.is_holding)
            theirs = {"owner": "another", "worker": "two", "fence": 1, "position": ""}
            with broker.pipeline() as together:
                together.flushall()
                together.hset(lease, mapping={**theirs, "until": broker.time()[0] * 1000 + 2000})
                together.execute()
            proxy.heal()
            await until(lambda: worker_of(lab, name) == b"one")
            assert broker.hget(lease, "position") != b""


async def test_a_worker_that_has_always_something_to_yield_takes_calls_over(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    """What it has read at once takes it five leases to yield."""
    mine: list[Event] = []
    options = Options(lease_seconds=LEASE, max_calls=1)

    async def yield_slowly(reader: AsyncReader) -> None:
        async for event in reader:
            mine.append(event)
            await asyncio.sleep(5 * LEASE / PAGE_ENTRIES)

    async with AsyncReader(lab.url, "asr", "dying", options) as dying:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        dead = asyncio.create_task(Reading(dying).read())
        await until(lambda: worker_of(lab, name) == b"dying")
        caller = await Caller.dial(its_service.url)
        await caller.start(f"{name}-long")
        await caller.speak(*range(2 * PAGE_ENTRIES))
        await caller.hear_ack(2 * PAGE_ENTRIES - 1)
        async with AsyncReader(lab.url, "asr", "busy", Options(lease_seconds=LEASE)) as busy:
            task = asyncio.create_task(yield_slowly(busy))
            await until(lambda: mine)
            dead.cancel()
            await until(lambda: worker_of(lab, name) == b"busy")
            assert len(mine) < PAGE_ENTRIES
            task.cancel()
            await asyncio.gather(task, dead, return_exceptions=True)


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


async def test_an_event_of_a_call_that_was_over_takes_nothing_back_when_its_next_run_is_read(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    def position() -> bytes | None:
        with lab.client() as client:
            broker: Any = client
            found: bytes | None = broker.hget(f"rtaa:reader:asr:{{tenant-abc/{name}}}", "position")
            return found

    async def speak() -> None:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(5))
        await caller.end()

    options = Options(lease_seconds=0.5, autocommit=False)
    async with AsyncReader(lab.url, "asr", "one", options) as reader:
        for _ in range(2):
            await speak()
            events = [await anext(reader) for _ in range(7)]
            assert await reader.commit(events[-1])
        await speak()
        again = [await anext(reader) for _ in range(3)]
        assert again[-1].run != events[-1].run
        before = position()
        assert not await reader.commit(events[2])
        assert position() == before
        assert await reader.commit(again[-1])
        assert position() != before


async def test_who_releases_a_call_takes_nothing_from_an_owner_who_came_later(
    lab: BrokerLab,
) -> None:
    script = files("rtaa_reader").joinpath("hold.lua").read_text()
    with lab.client() as client:
        broker: Any = client

        def hold(owner: str, milliseconds: int, fence: int, position: str) -> list[Any]:
            asked = owner, owner, milliseconds, fence, position
            found: list[Any] = broker.eval(script, 1, "lease", *asked)
            return found

        def has_run_out() -> bool:
            seconds, micros = broker.time()
            return bool(int(broker.hget("lease", "until")) < seconds * 1000 + micros // 1000)

        assert hold("a", 1, 0, "first") == [1, 1, b"first"]
        await until(lambda: hold("b", 1, 0, "")[:2] == [1, 2])
        await until(has_run_out)
        assert hold("a", 0, 1, "older") == [0, 2, b"first"]
        assert broker.hget("lease", "owner") == b"b"
