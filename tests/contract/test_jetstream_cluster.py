"""JetStream with three replicas: a handful of promises where servers die and leaders change."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
from nats_client import needs_nats_server
from nats_cluster import NatsCluster, PartedCluster

from adapters.outbound.nats_jetstream import access
from adapters.outbound.nats_jetstream.destination import JetStreamDestination, NatsJetStream
from adapters.outbound.nats_jetstream.layout import Layout
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerUnavailable
from application.ports.reader import PublishedEntry
from application.ports.store import APPENDED, Append, Conflict
from application.testing.appends import as_stored, begin, following, frame, frames, stream
from application.testing.observed import attempt, expected, plain, read, settle, store
from domain.identifiers import StreamKey

pytestmark = [pytest.mark.long(20), needs_nats_server]

OPTIONS = DestinationOptions()
AUDIO = Layout(OPTIONS.prefix).audio


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    with NatsCluster() as cluster:
        yield cluster


@pytest.fixture
async def destination(cluster: NatsCluster) -> AsyncIterator[JetStreamDestination]:
    adapter = NatsJetStream()
    destination = adapter.connect(OPTIONS, {"NATS_URL": cluster.url})
    try:
        await destination.verify_writable()
        yield destination
    finally:
        await destination.close()


async def test_a_cluster_of_three_keeps_three_replicas(
    cluster: NatsCluster, destination: JetStreamDestination
) -> None:
    await store(destination, begin(stream("call"), None))
    told = cluster.ask(f"$JS.API.STREAM.INFO.{AUDIO}")
    assert told["config"]["num_replicas"] == 3


class Writer:
    """Appends to one stream without an end; what it believes to be stored must be there."""

    def __init__(self, destination: JetStreamDestination, name: str) -> None:
        self._destination = destination
        self.written: list[Append] = []
        self.stream = stream(name)

    async def write_on(self) -> None:
        while True:
            last = self.written[-1].head if self.written else None
            number = 3 * len(self.written)
            append = (
                begin(self.stream, None)
                if last is None
                else following(last, *frames(self.stream, number, 3))
            )
            await settle(self._destination, [append])
            self.written.append(append)

    async def audit(self, reader: JetStreamDestination) -> None:
        """Find all that was acked, in its order, and at most one append more."""
        found = await read(reader, self.stream)
        acked = expected(*self.written)
        assert found[: len(acked)] == acked
        assert [it.position for it in found] == list(range(len(found)))
        assert len(found) - len(acked) in {0, 3}


@asynccontextmanager
async def writing(writers: list[Writer]) -> AsyncIterator[None]:
    """Write beside what is done inside, from before it begins until some time after it ends."""

    async def until_each_wrote(more: int) -> None:
        counts = [len(writer.written) + more for writer in writers]
        async with asyncio.timeout(30):
            while any(len(it.written) < n for it, n in zip(writers, counts, strict=True)):
                assert not any(task.done() for task in tasks), tasks
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(writer.write_on()) for writer in writers]
    try:
        await until_each_wrote(3)
        yield
        await until_each_wrote(3)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_all_is_there_when_the_leader_steps_down_is_killed_and_comes_back(
    cluster: NatsCluster, destination: JetStreamDestination
) -> None:
    everyone = []
    for fault in ("step down", "kill"):
        writers = [Writer(destination, f"{fault[:4]}-{number}") for number in range(8)]
        everyone += writers
        async with writing(writers):
            if fault == "step down":
                await asyncio.to_thread(cluster.ask, f"$JS.API.STREAM.LEADER.STEPDOWN.{AUDIO}")
            else:
                leader = await asyncio.to_thread(cluster.leader_of, AUDIO)
                leader.stop(signal.SIGKILL)
    await asyncio.to_thread(cluster.start)
    other = NatsJetStream().connect(OPTIONS, {"NATS_URL": cluster.servers[0].url})
    try:
        for writer in everyone:
            await writer.audit(destination)
            await writer.audit(other)
    finally:
        await other.close()


async def test_all_that_was_acked_is_there_after_all_three_were_killed(
    cluster: NatsCluster, destination: JetStreamDestination
) -> None:
    writers = [Writer(destination, f"call-{number}") for number in range(4)]
    async with writing(writers):
        cluster.stop_all(signal.SIGKILL)
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(cluster.wait_for_leader, AUDIO)
    for writer in writers:
        await writer.audit(destination)


async def test_a_new_leader_is_a_new_epoch(
    cluster: NatsCluster, destination: JetStreamDestination
) -> None:
    key = stream("call")
    first = begin(key, None)
    await store(destination, first)
    before = destination.store.epoch_of(key)
    leader = await asyncio.to_thread(cluster.leader_of, AUDIO)
    cluster.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{AUDIO}")
    async with asyncio.timeout(30):
        while await asyncio.to_thread(cluster.leader_of, AUDIO) is leader:
            await asyncio.sleep(0.05)
    await settle(destination, [following(first.head, frame(key, 0))])
    await destination.store.heads([key])
    assert destination.store.epoch_of(key) > before


async def test_a_server_that_is_cut_off_from_the_others_is_left_for_one_that_knows_a_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lets clients in, answers their PING, and tells of the streams what it knew."""
    monkeypatch.setattr(access, "LEADERLESS_SECONDS", 1.0)
    key = stream("call")
    first = begin(key, None)
    with PartedCluster() as cluster:
        adapter = NatsJetStream()
        destination = adapter.connect(OPTIONS, {"NATS_URL": cluster.url})
        reader = adapter.connect(OPTIONS, {"NATS_URL": cluster.url})
        alone = adapter.connect(OPTIONS, {"NATS_URL": cluster.servers[0].url})
        try:
            await until(lambda: refusal(destination), "")
            await store(destination, first)
            assert await read(reader, key) == expected(first)
            before = destination.store.epoch_of(key)
            await asyncio.to_thread(cluster.part)
            await until(lambda: refusal(alone), "no leader that this server knows")
            await until(lambda: refusal(destination), "")
            second = following(first.head, frame(key, 0))
            await settle(destination, [second])
            await until(lambda: refusal_to_read(reader, key, expected(first, second)), "")
            assert destination.store.epoch_of(key) > before
        finally:
            for it in (destination, reader, alone):
                await it.close()


async def refusal(destination: JetStreamDestination) -> str:
    """Return why no writes are taken."""
    try:
        await destination.verify_writable()
    except BrokerUnavailable as error:
        return str(error)
    return ""


async def refusal_to_read(
    destination: JetStreamDestination, key: StreamKey, entries: Sequence[PublishedEntry]
) -> str:
    """Return why entries are not read: one that led tells what it has until it hears of another."""
    try:
        return "" if await read(destination, key) == entries else "others"
    except BrokerUnavailable as error:
        return str(error)


async def until(ask: Callable[[], Awaitable[str]], answer: str) -> None:
    """Ask until the answer has a text in it; an empty one is an empty answer."""
    async with asyncio.timeout(40):
        while (told := await ask()) != answer and not (answer and answer in told):
            await asyncio.sleep(0.2)


async def test_of_rivals_in_two_processes_one_is_stored_while_leaders_change(
    cluster: NatsCluster, destination: JetStreamDestination
) -> None:
    other = NatsJetStream().connect(OPTIONS, {"NATS_URL": cluster.servers[1].url})
    key = stream("call")
    written = [begin(key, None)]
    try:
        await store(destination, *written)
        for number in range(30):
            if number % 10 == 5:
                await asyncio.to_thread(cluster.ask, f"$JS.API.STREAM.LEADER.STEPDOWN.{AUDIO}")
            rivals = [following(written[-1].head, frame(key, number * 10 + n)) for n in range(4)]
            pairs = list(zip((destination, other) * 2, rivals, strict=True))
            await asyncio.gather(*(attempt(at, [rival]) for at, rival in pairs))
            written.append(await stored_of(destination, rivals))
            for at, rival in pairs:
                (outcome,) = await attempt(at, [rival])
                assert outcome != APPENDED
                if isinstance(outcome, Conflict):
                    assert plain(outcome) == Conflict(as_stored(written[-1].head))
        assert await read(destination, key) == expected(*written)
    finally:
        await other.close()


async def stored_of(destination: JetStreamDestination, rivals: list[Append]) -> Append:
    """Return which of the rivals is stored; the first is sent again until one is."""
    by_revision = {rival.head.revision: rival for rival in rivals}
    async with asyncio.timeout(30):
        while True:
            (outcome,) = await attempt(destination, rivals[:1])
            if outcome == APPENDED:
                return rivals[0]
            if isinstance(outcome, Conflict):
                assert outcome.head is not None
                return by_revision[outcome.head.revision]
            await asyncio.sleep(0.05)
