"""Two processes append to one stream of a real broker, and an oracle says what it should have."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from store_oracle import Oracle, Placed, Writer, stream_key

from adapters.brokers.data import data_of
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.entries import EntryReader
from application.ports.destination import DestinationOptions
from application.ports.store import APPENDED, Append, Conflict, Mark, Outcome
from domain.head import Head
from examples import examples

PREFIX = "race"

_names = count(1)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["start", "resume", "speak", "speak", "speak", "note", "cut", "end", "trim", "again",
             "late", "blind", "both", "evict entries", "evict head", "wipe", "forget scripts"]
        ),
        st.sampled_from([0, 1]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


class Race:
    """The stream of one example, its two writers, and what they have sent."""

    def __init__(self, url: str) -> None:
        self.name = f"call-{next(_names)}"
        self.key = f"{PREFIX}:audio:{{tenant/{self.name}}}"
        self.facts = f"{PREFIX}:interaction:{{tenant/{self.name}}}"
        options = DestinationOptions(prefix=PREFIX)
        self.destinations = [RedisDestination(options, url) for _ in range(2)]
        self.writers = [Writer("a"), Writer("b")]
        self.oracle = Oracle()
        self.sent: list[Append] = []
        self.client = Redis.from_url(url)

    async def close(self) -> None:
        for destination in self.destinations:
            await destination.close()
        await self.client.aclose()

    async def step(self, kind: str, who: int, number: int) -> None:
        if kind == "evict entries":
            await self.client.delete(self.key)
            self.oracle.entries = None
        elif kind == "evict head":
            await self.client.delete(self.facts)
            self.oracle.head = None
        elif kind == "wipe":
            await self.client.delete(self.key, self.facts)
            self.oracle.head = self.oracle.entries = None
        elif kind == "forget scripts":
            await self.client.script_flush()
        elif kind in ("again", "late"):
            if self.sent:
                at = -1 if kind == "again" else number % len(self.sent)
                await self.append(who, self.sent[at])
        elif kind == "both":
            await self.race(number)
        else:
            await self.append(who, self.make(kind, who, number))
        await self.check()

    def make(self, kind: str, who: int, number: int) -> Append:
        head, writer = self.oracle.shown, self.writers[who]
        if kind == "blind":
            return writer.start(self.name)
        if head is None or head.run is None or kind in ("start", "resume"):
            return writer.start(self.name, head, resume=kind == "resume", now_ms=number)
        if kind == "trim":
            keep_from = Mark(head.lease.generation, max(0, head.next_position - number))
            return writer.speak(head, number, keep_from=keep_from)
        if kind == "speak":
            return writer.speak(head, number + 1, size=2 << number)
        acts: dict[str, Callable[[Head], Append]] = {
            "note": writer.note, "cut": writer.cut, "end": writer.end,
        }  # fmt: skip
        return acts[kind](head)

    async def append(self, who: int, append: Append) -> None:
        (outcome,) = await self.destinations[who].store.append([append])
        self.judge(append, outcome)

    async def race(self, number: int) -> None:
        """Both expect the same; one of them is first."""
        appends = [self.make("speak" if it else "start", it, number) for it in (0, 1)]
        calls: list[Awaitable[Any]] = [
            destination.store.append([append])
            for destination, append in zip(self.destinations, appends, strict=True)
        ]
        outcomes = [outcome for (outcome,) in await asyncio.gather(*calls)]
        first = outcomes.index(APPENDED)
        assert outcomes.count(APPENDED) == 1
        for index in (first, 1 - first):
            self.judge(appends[index], outcomes[index])

    def judge(self, append: Append, outcome: Outcome) -> None:
        self.sent.append(append)
        if self.oracle.append(append):
            assert outcome is APPENDED
        else:
            assert outcome == Conflict(self.oracle.shown)

    async def check(self) -> None:
        for destination in self.destinations:
            (head,) = (await destination.store.heads([stream_key(self.name)])).heads
            assert head == self.oracle.shown
        assert await self.entries() == (self.oracle.entries or [])

    async def entries(self) -> list[Placed]:
        found: Any = await self.client.xrange(self.key)
        started: Any = await self.client.hget(self.facts, "started")
        reader = EntryReader(started or _any_started(self.sent))
        return [reader.read(*it) for it in found]

    async def announced(self) -> list[str]:
        found: Any = await self.client.xrange(f"{PREFIX}:interactions")
        mine = f"tenant/{self.name}/"
        names = [fields[b"event_id"].decode() for _, fields in found]
        return [it for it in names if it.startswith(mine)]


def _any_started(sent: list[Append]) -> bytes | None:
    return data_of(sent[0].segments[0].entries[0])[1] if sent else None


@settings(deadline=None, max_examples=examples(200))
@given(STEPS)
def test_a_stream_is_what_the_appends_made_it_that_expected_what_was_there(
    valkey: EmbeddedValkey, steps: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        race = Race(valkey.url)
        try:
            for step in steps:
                await race.step(*step)
            # The one that finds an entry that is not announced yet announces it, too.
            announced, expected = await race.announced(), race.oracle.announced
            assert list(dict.fromkeys(announced)) == list(dict.fromkeys(expected))
        finally:
            await race.close()

    asyncio.run(run())
