"""What `tail` tells of streams that hold several runs, one after another."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from bench import clock_of, timeless_runner
from published_calls import PublishedCall, PublishedCalls

from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.ports.destination import DestinationOptions
from entrypoints.cli.tail_calls import POLL_SECONDS, Filters, Tail
from entrypoints.cli.tail_lines import TailLines

Story = Callable[[PublishedCalls, InMemoryStore], Awaitable[None]]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with timeless_runner() as made:
        yield made


@pytest.fixture
def told(
    runner: asyncio.Runner, capsys: pytest.CaptureFixture[str]
) -> Callable[[Story, Filters], list[str]]:
    """Tail a store while a story happens in it; return the kinds of the lines, without others."""

    def tail(story: Story, filters: Filters) -> list[str]:
        store = InMemory().connect(DestinationOptions(), {})
        clock = clock_of(runner)

        async def follow() -> None:
            lines = TailLines(clock.epoch_ms, is_json=False)
            tail = asyncio.create_task(Tail(store, clock, lines, filters).run(once=False))
            await polled()
            await story(PublishedCalls(store), store)
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
    told: Callable[[Story, Filters], list[str]],
) -> None:
    async def story(calls: PublishedCalls, _: InMemoryStore) -> None:
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
    told: Callable[[Story, Filters], list[str]],
) -> None:
    async def story(calls: PublishedCalls, _: InMemoryStore) -> None:
        call = PublishedCall("call")
        await calls.put(call.start())
        await polled()
        for append in (call.speak, call.end, call.start, call.speak, call.end):
            await calls.put(append())

    assert told(story, Filters()) == WHOLE * 2


def test_a_later_run_is_told_without_those_before_it(
    told: Callable[[Story, Filters], list[str]],
) -> None:
    async def story(calls: PublishedCalls, _: InMemoryStore) -> None:
        call = PublishedCall("call")
        for _number in range(2):
            for append in (call.start, call.speak, call.end):
                await calls.put(append())
            await polled()

    assert told(story, Filters()) == WHOLE * 2


def test_an_announcement_that_is_repeated_tells_nothing_twice(
    told: Callable[[Story, Filters], list[str]],
) -> None:
    async def story(calls: PublishedCalls, store: InMemoryStore) -> None:
        call = PublishedCall("call")
        for append in (call.start, call.speak, call.end):
            await calls.put(append())
        await polled()
        announced = store.memory.contents.announced
        announced.append(replace(announced[0], cursor=str(next(store.memory.counter))))

    assert told(story, Filters()) == WHOLE
