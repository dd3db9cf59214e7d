"""An append that a real broker refuses, whole or in the middle, has changed nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from broker_lab import BrokerLab
from broker_refusals import (
    out_of_memory,
    read_only,
    unable_to_save,
    without_permission,
    without_replicas,
)
from store_oracle import Writer, joined, stream_key

from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.store import RedisStreamStore
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.store import APPENDED, Append, Conflict, Failed, Mark
from domain.head import Head

NAME = "call"
STREAM, HEAD = "rtaa:audio:{tenant/call}", "rtaa:interaction:{tenant/call}"

ALWAYS = {"evalsha", "hget", "hset", "pexpire", "xadd"}
FIELDS = {"hdel"}
"""Where the head changes in more than what moves with every append."""
EXISTS = {"exists"}
"""Where the revision is another than the one expected, or seems so."""
COMMANDS = {*ALWAYS, *FIELDS, *EXISTS, "xtrim", "xinfo", "hgetall", "xrange", "del"}


@pytest.fixture(scope="module")
def lab() -> Any:
    with BrokerLab() as lab:
        yield lab


@dataclass
class Stream:
    """One stream of a broker that refuses."""

    lab: BrokerLab
    store: RedisStreamStore
    writer: Writer

    async def stored(self, append: Append) -> Head:
        assert list(await self.store.append([append])) == [APPENDED]
        return append.head

    async def begun(self, frames: int = 3) -> Head:
        head = await self.stored(self.writer.start(NAME))
        return await self.stored(self.writer.speak(head, frames)) if frames else head

    async def failed(self, append: Append, before: Any = None) -> PublisherError:
        before = before or self.contents()
        (outcome,) = await self.store.append([append])
        assert isinstance(outcome, Failed)
        assert self.contents() == before
        return outcome.error

    async def shown(self) -> Head:
        (head,) = (await self.store.heads([stream_key(NAME)])).heads
        assert isinstance(head, Head)
        return head

    def delete(self, key: str) -> None:
        with self.lab.client() as client:
            assert client.delete(key) == 1

    def contents(self) -> list[Any]:
        """Return all that the broker has but how long it lives, byte for byte."""
        with self.lab.client() as client:
            broker: Any = client
            return [
                (key, _contents(broker, key)) for key in sorted(broker.keys("*")) if b"{" in key
            ]


def _contents(broker: Any, key: bytes) -> Any:
    kind = broker.type(key)
    if kind == b"stream":
        info = broker.xinfo_stream(key)
        return info["last-generated-id"], info["length"], broker.xrange(key)
    return broker.hgetall(key) if kind == b"hash" else (kind, broker.dump(key))


@pytest.fixture
async def stream(lab: BrokerLab) -> AsyncIterator[Stream]:
    with lab.client() as client:
        client.flushall()
    destination = RedisDestination(DestinationOptions(), lab.url)
    yield Stream(lab, destination.store, Writer())
    await destination.close()


Make = Callable[[Stream], Any]


async def _start(stream: Stream) -> Append:
    await stream.store.heads([stream_key(NAME)])
    return stream.writer.start(NAME)


async def _frame(stream: Stream) -> Append:
    return stream.writer.speak(await stream.begun())


async def _frames_that_trim(stream: Stream) -> Append:
    return stream.writer.speak(await stream.begun(), 5, keep_from=Mark(1, 2))


async def _cut(stream: Stream) -> Append:
    return stream.writer.cut(await stream.begun())


async def _end(stream: Stream) -> Append:
    return stream.writer.end(await stream.begun())


async def _next_generation(stream: Stream) -> Append:
    return stream.writer.start(NAME, await stream.begun(), resume=True)


async def _two_generations(stream: Stream) -> Append:
    head = await stream.begun()
    rest = stream.writer.speak(head, 2)
    start = stream.writer.start(NAME, rest.head)
    return joined(NAME, head.revision, [rest, start, stream.writer.speak(start.head)])


async def _without_entries(stream: Stream) -> Append:
    await stream.begun()
    stream.delete(STREAM)
    return stream.writer.start(NAME, await stream.shown(), resume=True)


async def _without_head(stream: Stream) -> Append:
    await stream.begun()
    stream.delete(HEAD)
    return stream.writer.start(NAME, await stream.shown())


CASES: dict[str, tuple[Make, set[str]]] = {
    "a start of a stream": (_start, {*ALWAYS, *FIELDS, *EXISTS}),
    "a frame": (_frame, {*ALWAYS, *FIELDS}),
    "frames that trim": (_frames_that_trim, {*ALWAYS, *FIELDS, "xtrim"}),
    "a cut": (_cut, {*ALWAYS, *FIELDS, "xtrim"} - {"xadd"}),
    "an end": (_end, {*ALWAYS, *FIELDS}),
    "a start of a stream that is there": (_next_generation, {*ALWAYS, *FIELDS}),
    "several generations": (_two_generations, {*ALWAYS, *FIELDS}),
    "a start after the entries were evicted": (_without_entries, {*ALWAYS, *FIELDS, *EXISTS}),
    "a start after the head was evicted": (_without_head, {*ALWAYS, *FIELDS, *EXISTS, "xinfo"}),
}


@pytest.mark.parametrize("case", CASES)
async def test_an_append_is_stored_whole_or_not_at_all_whichever_right_is_missing(
    stream: Stream, case: str
) -> None:
    make, needed = CASES[case]
    append = await make(stream)
    before = stream.contents()
    for command in sorted(needed):
        with without_permission(stream.lab, command):
            (outcome,) = await stream.store.append([append])
        assert isinstance(outcome, Failed), command
        assert isinstance(outcome.error, BrokerRefused)
        assert stream.contents() == before, command
    with ExitStack() as others:
        for command in COMMANDS - needed:
            others.enter_context(without_permission(stream.lab, command))
        (outcome,) = await stream.store.append([append])
    assert outcome is APPENDED
    assert await stream.shown() == append.head


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("refuse", [out_of_memory, read_only, without_replicas])
async def test_an_append_to_a_broker_that_takes_no_writes_has_changed_nothing(
    stream: Stream,
    case: str,
    refuse: Callable[[BrokerLab], AbstractContextManager[None]],
) -> None:
    append = await CASES[case][0](stream)
    before = stream.contents()
    with refuse(stream.lab):
        assert isinstance(await stream.failed(append, before), BrokerUnavailable)
    await stream.stored(append)


async def test_an_append_to_a_broker_whose_disk_is_full_has_changed_nothing() -> None:
    with BrokerLab() as lab:
        destination = RedisDestination(DestinationOptions(), lab.url)
        stream = Stream(lab, destination.store, Writer())
        append = await _frame(stream)
        before = stream.contents()
        with unable_to_save(lab):
            assert isinstance(await stream.failed(append, before), BrokerUnavailable)
        await stream.stored(append)
        await destination.close()


@pytest.mark.parametrize("frames", [1, 10, 100])
@pytest.mark.parametrize("size", [2, 320, 9_600])
async def test_an_append_for_which_memory_runs_out_is_stored_whole_or_not_at_all(
    stream: Stream, frames: int, size: int
) -> None:
    """Whatever is left: it is looked for from nothing to more than is needed."""
    head = await stream.begun()
    append = stream.writer.speak(head, frames, size=size)
    before = stream.contents()
    outcomes = []
    with stream.lab.client() as client:
        used: Any = client.info("memory")["used_memory"]
        for spare in (-1_000_000, 0, 10_000, 100_000, frames * size, 4 * frames * size, 10**8):
            client.config_set("maxmemory", used + spare)
            try:
                (outcome,) = await stream.store.append([append])
            finally:
                client.config_set("maxmemory", "0")
            outcomes.append(outcome)
            if outcome is APPENDED:
                break
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, BrokerUnavailable)
            assert stream.contents() == before
    assert isinstance(outcomes[0], Failed)
    assert outcomes[-1] is APPENDED
    assert await stream.shown() == append.head


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key", [STREAM, HEAD])
async def test_a_key_of_another_type_is_left_as_it_is(stream: Stream, case: str, key: str) -> None:
    append = await CASES[case][0](stream)
    with stream.lab.client() as client:
        client.set(key, "of another program")
    error = await stream.failed(append)
    assert "WRONGTYPE" in str(error)
    with stream.lab.client() as client:
        client.delete(key)


async def test_a_stream_that_is_refused_keeps_no_other_from_being_stored(stream: Stream) -> None:
    with stream.lab.client() as client:
        client.set(STREAM, "of another program")
    other = stream.writer.start("other")
    refused, stored = await stream.store.append([stream.writer.start(NAME), other])
    assert isinstance(refused, Failed)
    assert stored is APPENDED
    failed, head = (await stream.store.heads([stream_key(NAME), stream_key("other")])).heads
    assert isinstance(failed, Failed)
    assert head == other.head


async def test_a_server_that_takes_no_writes_tells_no_heads(stream: Stream) -> None:
    """A replica may lag behind: what it has is no answer."""
    await stream.begun()
    with read_only(stream.lab):
        (head,) = (await stream.store.heads([stream_key(NAME)])).heads
        assert isinstance(head, Failed)
        conflict = stream.writer.start(NAME)
        (outcome,) = await stream.store.append([conflict])
        assert isinstance(outcome, Failed)
    assert isinstance(await stream.shown(), Head)


async def test_a_conflict_is_told_where_memory_has_run_out(stream: Stream) -> None:
    head = await stream.begun()
    with out_of_memory(stream.lab):
        (outcome,) = await stream.store.append([stream.writer.start(NAME)])
    assert outcome == Conflict(head)
