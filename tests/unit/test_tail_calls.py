"""What `tail` tells of streams that hold several runs, one after another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from published_calls import PublishedCall, PublishedCalls
from virtual_time import clock_of, timeless_runner

from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.reader import Newest, PublishedEntry
from domain.identifiers import StreamKey
from entrypoints.cli.tail_calls import POLL_SECONDS, Filters, Tail
from entrypoints.cli.tail_lines import TailLines


class Store(InMemoryStore):
    """A store in two parts, of which single streams can fail."""

    def __init__(self) -> None:
        super().__init__(InMemory().memories[""], DestinationOptions())
        self.failures: dict[str, PublisherError] = {}

    def part_of(self, stream: StreamKey) -> str:
        return f"part-{stream.stream_id[-1]}"

    async def newest(self, stream: StreamKey) -> Newest | None:
        self._fail(stream)
        return await super().newest(stream)

    async def read(
        self, stream: StreamKey, after: PublishedEntry | None = None
    ) -> AsyncIterator[PublishedEntry]:
        self._fail(stream)
        async for published in super().read(stream, after):
            yield published

    def _fail(self, stream: StreamKey) -> None:
        if stream.stream_id in self.failures:
            raise self.failures[stream.stream_id]


Told = Callable[..., list[str]]
Story = Callable[[PublishedCalls, Store], Awaitable[None]]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with timeless_runner() as made:
        yield made


@pytest.fixture
def told(runner: asyncio.Runner, capsys: pytest.CaptureFixture[str]) -> Told:
    """Tail a store while a story happens in it; return the kinds of the lines, without others."""

    def tail(story: Story, filters: Filters, before: Story | None = None) -> list[str]:
        store = Store()
        clock = clock_of(runner)

        async def follow() -> None:
            lines = TailLines(clock.epoch_ms, is_json=False)
            calls = PublishedCalls(store)
            if before is not None:
                await before(calls, store)
            tail = asyncio.create_task(Tail(store, clock, lines, filters).run(once=False))
            await polled()
            await story(calls, store)
            await polled()
            tail.cancel()
            await asyncio.gather(tail, return_exceptions=True)

        runner.run(follow())
        words = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
        return [" ".join(it[:2]) for it in words if len(it) > 1]

    return tail


async def polled() -> None:
    await asyncio.sleep(3 * POLL_SECONDS)


WHOLE = ["demo/call started", "demo/call audio", "demo/call ended"]


def test_a_run_that_replaces_an_open_one_is_followed(
    told: Told,
) -> None:
    async def story(calls: PublishedCalls, _: Store) -> None:
        call = PublishedCall("call")
        await calls.put(call.start())
        await calls.put(call.speak(3))
        await polled()
        await calls.put(call.start())  # which ends the run before it
        await polled()
        await calls.put(call.speak(3))
        await polled()
        await calls.put(call.end())

    assert told(story, Filters()) == WHOLE * 2


def test_runs_that_come_between_two_looks_are_told_once(
    told: Told,
) -> None:
    async def story(calls: PublishedCalls, _: Store) -> None:
        call = PublishedCall("call")
        await calls.put(call.start())
        await polled()
        for append in (call.speak, call.end, call.start, call.speak, call.end):
            await calls.put(append())

    assert told(story, Filters()) == WHOLE * 2


def test_a_later_run_is_told_without_those_before_it(
    told: Told,
) -> None:
    async def story(calls: PublishedCalls, _: Store) -> None:
        call = PublishedCall("call")
        for _number in range(2):
            for append in (call.start, call.speak, call.end):
                await calls.put(append())
            await polled()

    assert told(story, Filters()) == WHOLE * 2


def test_an_announcement_that_is_repeated_tells_nothing_twice(
    told: Told,
) -> None:
    async def story(calls: PublishedCalls, store: Store) -> None:
        call = PublishedCall("call")
        for append in (call.start, call.speak, call.end):
            await calls.put(append())
        await polled()
        announced = store.memory.contents.announced
        announced.append(replace(announced[0], cursor=str(next(store.memory.counter))))

    assert told(story, Filters()) == WHOLE


@pytest.mark.parametrize("error", [BrokerRefused("damaged"), BrokerUnavailable("part-1 is away")])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_stream_that_cannot_be_read_holds_up_no_other(
    told: Told, error: PublisherError, *, is_listed: bool
) -> None:
    bad, good = PublishedCall("bad-1"), PublishedCall("good-2")

    async def begin(calls: PublishedCalls, _: Store) -> None:
        for call in (bad, good):
            await calls.put(call.start())
            await calls.put(call.speak())

    async def story(calls: PublishedCalls, store: Store) -> None:
        if not is_listed:
            await begin(calls, store)
        await polled()
        store.failures["bad-1"] = error
        await polled()
        await calls.put(bad.speak(), good.end())
        await polled()
        store.failures.clear()
        await calls.put(bad.end())

    lines = told(story, Filters(), begin if is_listed else None)
    kinds = [line.split()[1] for line in lines if "bad" in line]
    assert kinds[-3:] == ["unread", "audio", "ended"]
    assert [line.split()[1] for line in lines if "good" in line][-1] == "ended"


def test_a_listed_stream_that_cannot_be_read_is_told_once_it_can(told: Told) -> None:
    call, other = PublishedCall("bad-1"), PublishedCall("good-2")

    async def before(calls: PublishedCalls, store: Store) -> None:
        await calls.put(call.start(), other.start())
        store.failures["bad-1"] = BrokerRefused("damaged")

    async def story(calls: PublishedCalls, store: Store) -> None:
        await calls.put(other.end())
        await polled()
        store.failures.clear()
        await calls.put(call.end())

    assert told(story, Filters(), before) == [
        "demo/bad-1 unread", "demo/good-2 live", "demo/good-2 ended", "demo/bad-1 started",
        "demo/bad-1 ended",
    ]  # fmt: skip


def test_a_part_that_is_away_is_asked_once_for_a_list(told: Told) -> None:
    asked: list[str] = []
    calls_of = [PublishedCall(name) for name in ("a-1", "b-1", "c-1", "d-2")]

    async def before(calls: PublishedCalls, store: Store) -> None:
        await calls.put(*(call.start() for call in calls_of))
        for call in calls_of[:3]:
            store.failures[call.key.stream_id] = BrokerUnavailable("away")
        newest = store.newest

        async def counted(stream: StreamKey) -> Newest | None:
            asked.append(stream.stream_id)
            return await newest(stream)

        store.newest = counted  # type: ignore[method-assign]

    async def story(_calls: PublishedCalls, _store: Store) -> None:
        pass

    kinds = sorted(told(story, Filters(), before))
    assert kinds == ["demo/a-1 unread", "demo/b-1 unread", "demo/c-1 unread", "demo/d-2 live"]
    assert asked == ["a-1", "d-2"]
