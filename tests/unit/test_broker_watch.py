import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from begun import hold_a_stream
from counting_telemetry import CountingTelemetry
from sender_bench import SenderBench, stream_key, timeless, until
from virtual_time import HandDrivenClock, clock_of, timeless_runner

from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.delivery.byte_budget import BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import WHOLE, DestinationOptions, Part
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.watch import part_watch
from application.watch.broker_watch import BrokerWatch
from application.watch.part_watch import MAX_CAUSES
from domain.events import Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat

OPENING = Opening(
    StreamKey(TenantId("tenant"), StreamId("call")),
    InteractionId("call"),
    "d",
    MediaFormat(8_000),
    0,
)


class SwitchableDestination(InMemoryStore):
    """Takes writes, or not, or never answers; remembers when it was tried."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(InMemory().memories["test"], DestinationOptions())
        self.error: PublisherError | None = None
        self.answers = True
        self.tried_at: list[float] = []
        self._clock = clock

    async def verify_writable(self) -> None:
        self.tried_at.append(self._clock.monotonic())
        if not self.answers:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


class Told(Sender):
    """Remembers what it is told of the destination."""

    alive: list[float]
    failures = 0

    def note_alive(self, since: float, part: str = "") -> None:
        self.alive = [*getattr(self, "alive", []), since]
        super().note_alive(since, part)

    def note_failure(self, part: str = "") -> None:
        self.failures += 1
        super().note_failure(part)


class WatchBench:
    def __init__(self, clock: HandDrivenClock | None = None) -> None:
        self.clock = clock or HandDrivenClock()
        self.destination = SwitchableDestination(self.clock)
        self.telemetry = CountingTelemetry()
        self.sender = Told(
            self.destination, self.clock, self.telemetry, BufferLimits(), retention_seconds=60
        )
        self.watch = BrokerWatch(self.destination, self.sender, self.clock, self.telemetry)

    def is_up(self) -> bool:
        return self.watch.is_up

    @property
    def reported(self) -> list[bool]:
        return self.telemetry.broker_is_up

    async def check(self, error: PublisherError | None = None) -> None:
        if not self.sender.streams():
            await self.hold_a_stream()
        self.destination.error = error
        await self.watch.check()

    async def hold_a_stream(self) -> None:
        """Have a stream of which the store may have lost something."""
        await hold_a_stream(self.sender, self.destination, OPENING)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Let the sender ask the store what it still has."""
        running = asyncio.create_task(self.sender.run())
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def prove(self) -> None:
        async with self.publishing(), asyncio.timeout(10):
            while not self.sender.is_in_sync():
                await asyncio.sleep(0)


def test_an_untried_broker_is_not_up() -> None:
    bench = WatchBench()
    assert not bench.is_up()
    assert bench.reported == []


@pytest.mark.parametrize("error", [BrokerUnavailable("gone"), BrokerRefused("NOPERM")])
async def test_each_change_is_reported_once(
    error: PublisherError, caplog: pytest.LogCaptureFixture
) -> None:
    bench = WatchBench()
    with caplog.at_level("INFO", "application"):
        for failure in (None, None, error, error, error):
            await bench.check(failure)
            assert bench.is_up() == (failure is None)
        for _ in range(2):  # it takes writes, and has yet to show what it still knows
            await bench.check()
            assert not bench.is_up()
        await bench.prove()
        for failure in (None, None, error):
            await bench.check(failure)
            assert bench.is_up() == (failure is None)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "the broker takes writes"),
        ("ERROR", "the broker does not take writes"),
        ("INFO", "the broker is asked what it still knows"),
        ("INFO", "the broker is back, nothing is lost"),
        ("ERROR", "the broker does not take writes"),
    ]
    assert bench.reported == [True, False, True, False]


async def test_a_broker_that_is_back_is_told_with_what_the_outage_came_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandDrivenClock()
    bench = WatchBench(clock)
    await bench.check()
    bench.telemetry.frames("lost", 3)  # before, and not of it
    bench.telemetry.replayed(5)
    clock.now += 1.0
    await bench.check(BrokerUnavailable("gone"))
    bench.sender.budget.add(7_000)
    clock.now += 12.0
    await bench.check(BrokerUnavailable("gone"))
    bench.sender.budget.add(-7_000)
    bench.telemetry.frames("lost", 2)
    bench.telemetry.replayed(11)
    bench.telemetry.rebased()
    await bench.check()
    await bench.prove()
    clock.now += 1.0
    with caplog.at_level("INFO", "application"):
        await bench.check()
    told = caplog.records[-1]
    assert (told.levelname, told.message) == ("WARNING", "the broker is back, frames are lost")
    figures = told.__dict__
    assert figures["away_seconds"] == 14.0
    assert (figures["waited_bytes"], figures["waited_streams"]) == (7_000, 0)
    assert (figures["replayed_frames"], figures["lost_frames"]) == (11, 2)
    assert figures["rebased_streams"] == 1
    began_ms, back_ms = bench.telemetry.broker_since_ms[-2:]
    assert back_ms == clock.epoch_ms()
    assert back_ms - began_ms == 14_000


async def test_each_cause_of_an_outage_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = WatchBench()
    causes = ["OOM", "OOM", "NOPERM", "OOM", *(f"cause {n}" for n in range(50))]
    with caplog.at_level("ERROR", "application"):
        for cause in causes:
            await bench.check(BrokerUnavailable(cause))
        told = [record.__dict__["error"] for record in caplog.records]
        assert told[:3] == ["OOM", "NOPERM", "cause 0"]
        assert len(told) == MAX_CAUSES
        await bench.check()
        await bench.prove()
        await bench.check()
        await bench.check(BrokerUnavailable("OOM"))
        assert caplog.records[-1].__dict__["error"] == "OOM"
        assert len(caplog.records) == len(told) + 1
    assert bench.reported == [False, True, False]


async def test_a_broker_that_is_down_from_the_start_is_told_to_be_down() -> None:
    bench = WatchBench()
    await bench.check(BrokerUnavailable("gone"))
    await bench.check(BrokerUnavailable("gone"))
    assert bench.reported == [False]
    assert not bench.is_up()


async def test_a_broker_in_a_new_epoch_is_up_only_when_it_has_shown_what_it_knows() -> None:
    bench = WatchBench()
    await bench.check()
    bench.destination.memory.plug()  # no call saw it fail
    await bench.check()
    assert not bench.is_up()
    await bench.prove()
    assert not bench.is_up()
    await bench.check()
    assert bench.is_up()
    assert bench.reported == [True, False, True]


async def test_a_failure_that_only_the_publication_saw_takes_the_broker_down_too() -> None:
    bench = WatchBench()
    await bench.check()
    bench.sender.note_failure()
    await bench.check()
    assert not bench.is_up()
    assert bench.reported == [True, False]


async def test_a_broker_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_watch, "CHECK_SECONDS", 0.01)
    bench = WatchBench()
    await bench.check()
    bench.destination.answers = False
    await bench.check()
    assert not bench.is_up()
    bench.destination.answers = True
    await bench.check()
    await bench.prove()
    await bench.check()
    assert bench.reported == [True, False, True]


async def test_the_publication_is_told_of_each_failure_and_since_when_the_broker_is_alive() -> None:
    bench = WatchBench()
    before = bench.clock.now
    verify_writable = bench.destination.verify_writable

    async def answer_slowly() -> None:
        bench.clock.now += 1.5
        await verify_writable()

    bench.destination.verify_writable = answer_slowly  # type: ignore[method-assign]
    await bench.check()
    assert bench.sender.alive == [before]
    assert bench.sender.failures == 0
    await bench.check(BrokerUnavailable("gone"))
    await bench.check(BrokerRefused("NOPERM"))
    assert bench.sender.alive == [before]
    assert bench.sender.failures == 2


async def test_waiting_for_a_broker_that_is_up_does_not_wait() -> None:
    bench = WatchBench()
    await bench.check()
    async with asyncio.timeout(1):
        assert await bench.watch.wait_until_up(60)


async def test_waiting_for_a_broker_ends_when_it_has_shown_what_it_knows() -> None:
    bench = WatchBench()
    await bench.check(BrokerUnavailable("gone"))
    waiting = asyncio.create_task(bench.watch.wait_until_up(60))
    await bench.check()
    await asyncio.sleep(0)
    assert not waiting.done()
    await bench.prove()
    await bench.check()
    assert await asyncio.wait_for(waiting, 1)


async def test_waiting_for_a_broker_that_does_not_come_ends_after_its_time() -> None:
    bench = WatchBench()
    assert not await bench.watch.wait_until_up(0.01)
    await bench.check()
    await bench.check(BrokerUnavailable("gone"))
    assert not await bench.watch.wait_until_up(0.01)


def test_the_watch_tries_each_second_while_it_is_up_and_more_often_while_it_is_not() -> None:
    with timeless_runner() as runner:
        bench = WatchBench(clock_of(runner))

        async def watch() -> None:
            await bench.hold_a_stream()
            began = bench.clock.now
            running = asyncio.create_task(bench.watch.run())
            async with bench.publishing():
                await asyncio.sleep(2.5)
                bench.destination.error = BrokerUnavailable("gone")
                await asyncio.sleep(1.0)
                bench.destination.error = None
                await asyncio.sleep(2.0)
                assert bench.is_up()
                bench.destination.error = BrokerUnavailable("gone")
                await asyncio.sleep(0.35)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            tried_at = [round(at - began, 3) for at in bench.destination.tried_at]
            down = [3.0, 3.05, 3.15, 3.35]
            asked_then_up = [3.55, 3.75, 4.75]
            down_again = [5.75, 5.8]
            assert tried_at == [0.0, 1.0, 2.0, *down, *asked_then_up, *down_again]
            assert bench.reported == [True, False, True, False]

        runner.run(watch())


class PartedDestination(SwitchableDestination):
    """Has parts, which fail by themselves."""

    def __init__(self, clock: Clock, parts: list[Part]) -> None:
        super().__init__(clock)
        self.now = parts
        self.away: set[str] = set()
        self.stuck: set[str] = set()
        self.tried: list[str] = []

    def parts(self) -> list[Part]:
        return list(self.now)

    async def verify_part(self, part: str) -> None:
        self.tried.append(part)
        if part in self.stuck:
            await asyncio.Event().wait()
        if part in self.away:
            raise BrokerUnavailable(f"{part} is gone")


A, B, C = Part("a", is_shared=True), Part("b", is_shared=False), Part("c", is_shared=False)


class PartedWatchBench:
    def __init__(self, *parts: Part, clock: HandDrivenClock | None = None) -> None:
        self.clock = clock or HandDrivenClock()
        self.destination = PartedDestination(self.clock, list(parts))
        self.telemetry = CountingTelemetry()
        self.sender = Told(
            self.destination, self.clock, self.telemetry, BufferLimits(), retention_seconds=60
        )
        self.watch = BrokerWatch(self.destination, self.sender, self.clock, self.telemetry)

    async def check(self, *away: str) -> None:
        self.destination.away = set(away)
        await self.watch.check()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(it.message, it.__dict__.get("part", "")) for it in caplog.records]


async def test_a_broker_of_parts_is_up_while_those_that_all_need_are() -> None:
    bench = PartedWatchBench(A, B, C)
    assert (bench.watch.is_up, bench.watch.away) == (False, ["a", "b", "c"])
    await bench.check()
    assert (bench.watch.is_up, bench.watch.away) == (True, [])
    await bench.check("b")
    assert (bench.watch.is_up, bench.watch.away) == (True, ["b"])
    assert await bench.watch.wait_until_up(0.01)
    await bench.check("a")
    assert (bench.watch.is_up, bench.watch.away) == (False, ["a"])
    assert not await bench.watch.wait_until_up(0.01)
    assert bench.telemetry.broker_parts[0] == {"a": True, "b": True, "c": True}
    assert bench.telemetry.broker_parts[1] == {"a": True, "b": False, "c": True}
    assert bench.telemetry.broker_parts[-1] == {"a": False, "b": True, "c": True}
    assert bench.telemetry.broker_is_up[:2] == [True, False]
    assert not any(bench.telemetry.broker_is_up[1:])
    assert bench.watch.has_parts


async def test_a_store_of_one_part_names_none() -> None:
    bench = WatchBench()
    await bench.check()
    assert not bench.watch.has_parts
    assert bench.telemetry.broker_parts == [{}]


async def test_each_change_of_a_part_is_logged_once_with_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = PartedWatchBench(A, B)
    with caplog.at_level("INFO", "application"):
        for away in ((), (), "b", "b", "ab", "ab", "b", (), ()):
            await bench.check(*away)
    assert told(caplog) == [
        ("the broker takes writes", "a"),
        ("the broker takes writes", "b"),
        ("the broker does not take writes", "b"),
        ("the broker does not take writes", "a"),
        ("the broker is back, nothing is lost", "a"),
        ("the broker is back, nothing is lost", "b"),
    ]


async def test_parts_that_are_known_only_now_do_not_take_the_broker_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = PartedWatchBench(WHOLE)
    await bench.check()
    assert (bench.watch.is_up, bench.watch.has_parts) == (True, False)
    bench.destination.now = [A, B]
    await bench.check()
    assert (bench.watch.is_up, bench.watch.away, bench.watch.has_parts) == (True, [], True)
    bench.destination.now = [A, B, C]
    with caplog.at_level("INFO", "application"):
        await bench.check()
    assert told(caplog) == [("the broker takes writes", "c")]
    assert set(bench.telemetry.broker_is_up) == {True}
    assert bench.telemetry.broker_parts == [{}, {"a": True, "b": True}, dict.fromkeys("abc", True)]


async def test_a_part_that_is_no_more_keeps_nothing_down(caplog: pytest.LogCaptureFixture) -> None:
    bench = PartedWatchBench(A, B)
    await bench.check("b")
    bench.destination.now = [A]
    caplog.clear()
    with caplog.at_level("INFO", "application"):
        await bench.check("b")
        await bench.check("b")
    assert (bench.watch.is_up, bench.watch.away) == (True, [])
    assert told(caplog) == [("the broker has this part no more", "b")]
    assert bench.telemetry.broker_is_up[-1]


async def test_a_part_that_all_need_from_now_on_is_the_same_part() -> None:
    bench = PartedWatchBench(A, B)
    await bench.check("b")
    assert bench.watch.is_up
    bench.destination.now = [Part("a", is_shared=False), Part("b", is_shared=True)]
    await bench.check("b")
    assert not bench.watch.is_up
    await bench.check()
    assert bench.watch.is_up


async def test_a_doubt_of_a_part_is_one_of_that_part_alone() -> None:
    bench = PartedWatchBench(A, B)
    await bench.check()
    bench.sender.note_failure("b")
    assert (bench.watch.is_up, bench.watch.away) == (True, ["b"])


async def watched_parts(
    bench: SenderBench,
) -> tuple[LiveStream, LiveStream, PartedDestination, BrokerWatch]:
    """Have a stream in each of two parts, five frames of each confirmed, and watch the parts."""
    keys = stream_key("one"), stream_key("two")
    bench.store.parts = dict(zip(keys, "ab", strict=True))
    one, two = [await bench.begin(stream=key) for key in keys]
    for live in (one, two):
        bench.hear(live, *range(5))
    await until(lambda: bench.sender.unpublished() == 0)
    destination = PartedDestination(bench.clock, [A, B])
    watch = BrokerWatch(destination, bench.sender, bench.clock, bench.telemetry)
    await watch.check()
    return one, two, destination, watch


@timeless()
async def test_a_part_that_is_back_is_told_with_what_the_outage_came_to_there(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, destination, watch = await watched_parts(bench)
    bench.store.parted = destination.away = {"a", "b"}
    bench.hear(one, 5)
    bench.hear(two, *range(5, 105))
    await watch.check()
    bench.ingest.drop(two, 205, 100)
    bench.ingest.drop(two, 205, 1)  # a duplicate
    for live in (one, two):
        bench.store.of(live.key).roll_back(1)
    await watch.check()
    bench.store.parted, destination.away = set(), set()
    await watch.check()
    await until(lambda: bench.sender.unpublished() == 0)
    with caplog.at_level("INFO", "application"):
        await watch.check()
    a, b = (it.__dict__ for it in caplog.records if "the broker is back" in it.message)
    assert (a["part"], a["message"]) == ("a", "the broker is back, nothing is lost")
    assert (a["waited_streams"], a["waited_bytes"]) == (1, 320)
    assert (a["replayed_frames"], a["rebased_streams"], a["lost_frames"]) == (5, 0, 0)
    assert (b["part"], b["message"]) == ("b", "the broker is back, frames are lost")
    assert (b["waited_streams"], b["waited_bytes"]) == (1, 100 * 320)
    assert (b["replayed_frames"], b["rebased_streams"], b["lost_frames"]) == (5, 0, 100)


@timeless()
async def test_a_stream_that_a_part_lost_is_of_its_figures_alone(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    _, two, destination, watch = await watched_parts(bench)
    bench.store.parted = destination.away = {"a", "b"}
    await watch.check()
    await asyncio.sleep(60)
    bench.store.of(two.key).wipe()
    bench.store.parted, destination.away = set(), set()
    await watch.check()
    await until(lambda: bench.sender.unpublished() == 0)
    with caplog.at_level("INFO", "application"):
        await watch.check()
    a, b = (it.__dict__ for it in caplog.records if "the broker is back" in it.message)
    assert (a["part"], a["rebased_streams"], a["lost_frames"]) == ("a", 0, 0)
    assert (b["part"], b["rebased_streams"]) == ("b", 1)


def test_a_part_that_is_stuck_keeps_no_other_from_being_tried() -> None:
    with timeless_runner() as runner:
        bench = PartedWatchBench(A, B, clock=clock_of(runner))

        async def watch() -> None:
            running = asyncio.create_task(bench.watch.run())
            await asyncio.sleep(0.5)
            bench.destination.stuck = {"b"}
            bench.destination.tried.clear()
            await asyncio.sleep(10.2)
            tried = bench.destination.tried
            assert (tried.count("a"), tried.count("b")) == (10, 5)
            assert bench.watch.away == ["b"]
            bench.destination.now = [A]
            await asyncio.sleep(1.0)
            tried.clear()
            await asyncio.sleep(10.0)
            assert set(tried) == {"a"}
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        runner.run(watch())
