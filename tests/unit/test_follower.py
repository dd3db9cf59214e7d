"""The follower: what it reads of a store, how much, and what it makes of failures."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from published_calls import PublishedCall, PublishedCalls
from waiting import until

from adapters.outbound.in_memory import InMemory, InMemoryStore
from adapters.outbound.system_clock import SystemClock
from application.overview import follower as module
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.follower import Follower
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.ports.reader import Announcement, Newest
from domain.identifiers import StreamKey

LOOKS = 100


class Counting(InMemoryStore):
    """Counts its looks, and fails as a test wants it."""

    def __init__(self) -> None:
        adapter = InMemory()
        options = DestinationOptions()
        super().__init__(adapter.memories[options.prefix], options)
        self.looks: Counter[StreamKey] = Counter()
        self.damaged: set[StreamKey] = set()
        self.is_away = False
        self.parts_away: set[str] = set()
        self.is_silent = False
        self.part_answers = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def newest(self, stream: StreamKey) -> Newest | None:
        self.looks[stream] += 1
        if stream in self.damaged:
            raise BrokerRefused("damaged")
        if part_of(stream) in self.parts_away:
            if self.is_silent:
                await self.part_answers.wait()
            raise BrokerUnavailable("a part is away")
        return await super().newest(stream)

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        if self.is_away:
            raise BrokerUnavailable("away")
        await self.answers.wait()
        return await super().announcements(after)


class Following:
    """A follower that runs over a store."""

    def __init__(self) -> None:
        self.store = Counting()
        self.overview = CallOverview()
        self.follower = Follower(self.store, SystemClock(), self.overview, LOOKS)
        self.task = asyncio.create_task(self.follower.run())

    async def start(self, count: int) -> list[PublishedCall]:
        calls = [PublishedCall(f"call-{number}") for number in range(count)]
        await PublishedCalls(self.store).start(calls)
        return calls

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def following(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.1)
    made = Following()
    yield made
    await made.close()


async def test_every_call_is_looked_at_in_turn(following: Following) -> None:
    await following.start(3 * LOOKS)
    await until(lambda: len(following.store.looks) == 3 * LOOKS)
    await until(lambda: following.overview.is_seen)
    assert max(following.store.looks.values()) <= 2


async def test_a_damaged_stream_is_unread_and_no_other_is(following: Following) -> None:
    calls = await following.start(3)
    following.store.damaged = {calls[1].key}
    await until(lambda: following.overview.has_index and len(following.store.looks) == 3)

    def unread() -> set[str]:
        return {it.stream.stream_id for it in following.overview.live if it.is_unread}

    await until(lambda: unread() == {"call-1"})
    following.follower.watched["viewer"] = calls[1].key
    await until(lambda: following.follower.line(calls[1].key) is not None)
    assert following.overview.away_seconds(SystemClock().instant()) is None
    following.store.damaged.clear()
    await until(lambda: not unread())


async def test_a_store_that_is_away_is_told_and_read_again(following: Following) -> None:
    (call,) = await following.start(1)
    await until(lambda: following.overview.live)
    following.store.is_away = True
    await until(lambda: following.overview.failure == "away")
    assert following.overview.outages[-1].until_ms is None
    following.store.is_away = False
    await until(lambda: not following.overview.failure)
    assert following.overview.outages[-1].until_ms is not None
    await PublishedCalls(following.store).put(call.end())
    await until(lambda: not following.overview.live)
    (over,) = following.overview.over
    await until(lambda: over.end_reason is not None)
    assert over.condition is Condition.ENDED
    looks = following.store.looks[call.key]
    await PublishedCalls(following.store).start([PublishedCall("later")])
    await until(lambda: following.overview.live)
    assert following.store.looks[call.key] == looks  # a call that is over is left alone


async def test_a_store_that_does_not_answer_is_told_before_any_question_fails(
    following: Following,
) -> None:
    await following.start(1)
    await until(lambda: following.overview.live)
    following.store.answers.clear()
    clock = SystemClock()
    await until(lambda: following.overview.quiet_seconds(clock.instant()) is not None)
    assert following.overview.away_seconds(clock.instant()) is None
    assert not following.overview.failure
    following.store.answers.set()
    await until(lambda: following.overview.quiet_seconds(clock.instant()) is None)
    assert not following.overview.outages


async def test_a_time_line_is_read_while_its_call_is_watched(following: Following) -> None:
    (call,) = await following.start(1)
    following.follower.watched["viewer"] = call.key
    await until(lambda: (line := following.follower.line(call.key)) and line.levels)
    line = following.follower.line(call.key)
    assert line is not None
    await until(lambda: line.is_read)
    following.store.is_away = True
    await until(lambda: not line.is_read)
    following.store.is_away = False
    await until(lambda: line.is_read)
    await PublishedCalls(following.store).put(call.end())
    await until(lambda: line.ended)
    following.follower.watched.clear()
    await until(lambda: following.follower.line(call.key) is None)


async def test_an_end_that_could_not_be_looked_at_is_looked_at_later(
    following: Following,
) -> None:
    calls = await following.start(2 * module.GROUP)
    await until(lambda: following.overview.has_index and following.overview.is_seen)
    following.store.parts_away = {"part-0", "part-1"}
    await PublishedCalls(following.store).put(*(call.end() for call in calls))
    await until(lambda: len(following.overview.over) == len(calls))
    following.store.parts_away = set()
    await until(lambda: all(it.end_reason is not None for it in following.overview.over))


def part_of(stream: StreamKey) -> str:
    """Spread calls over two parts, by their numbers."""
    return f"part-{int(stream.stream_id.rpartition('-')[2]) % 2}"


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_part_that_is_away_holds_up_no_call_of_another(
    monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.1)
    monkeypatch.setattr(module, "PART_SECONDS", 0.1)
    monkeypatch.setattr(module, "SHOWN_SECONDS", 0.1)
    following = Following()
    store, follower, overview = following.store, following.follower, following.overview
    monkeypatch.setattr(store, "part_of", part_of)
    calls = await following.start(4 * module.GROUP)
    follower.shown["viewer"] = [call.key for call in calls]
    follower.watched["viewer"] = calls[1].key
    await until(lambda: overview.has_index and overview.is_seen)
    store.parts_away, store.is_silent = {"part-0"}, is_silent
    away, answering = ([call.key for call in calls[first::2]] for first in range(2))
    await until(
        lambda: is_silent or {it.stream for it in overview.live if it.is_unread} == set(away)
    )
    for _ in range(3):
        store.looks.clear()
        await until(lambda: set(answering) <= store.looks.keys())
    line = follower.line(calls[1].key)
    assert line is not None
    await PublishedCalls(store).put(calls[1].end())
    await until(lambda: line.ended)
    assert overview.quiet_seconds(SystemClock().instant()) is None
    assert not overview.outages
    store.parts_away = set()
    store.part_answers.set()
    await until(lambda: not any(it.is_unread for it in overview.live))
    await following.close()
