"""The way to the primary that Sentinels name, against Sentinels and servers that are scripted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from scripted_node import ScriptedNode, array, bulk, error, number

from adapters.outbound.redis_streams import sentinel as subject
from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.link import WHOLE, Link
from adapters.outbound.redis_streams.links import make_link
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerRefused, BrokerUnavailable

LIMIT_SECONDS = 20.0
KEY = "key"
GET = [("GET", KEY)]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # within the limit of the group
        await asyncio.sleep(0.005)


class Group:
    """Three Sentinels, which name the first of two servers."""

    def __init__(self, nodes: list[ScriptedNode]) -> None:
        self.sentinels, self.servers = nodes[:3], nodes[3:]
        self.down_after_ms = "5000"
        for server in self.servers:
            server.answers["GET"] = bulk(str(server.port))
            server.answers["ROLE"] = array(bulk("master"), number(0), array())
        for sentinel in self.sentinels:
            self.name(self.servers[0], sentinel)
            sentinel.answers["SENTINEL MASTER"] = lambda _: array(
                bulk("name"), bulk("rtaa"), bulk("down-after-milliseconds"),
                bulk(self.down_after_ms),
            )  # fmt: skip

    def name(self, server: ScriptedNode, *sentinels: ScriptedNode) -> None:
        """Have Sentinels, all if none is given, name a server as the primary."""
        for sentinel in sentinels or self.sentinels:
            sentinel.answers["SENTINEL GET-MASTER-ADDR-BY-NAME"] = array(
                bulk("127.0.0.1"), bulk(str(server.port))
            )

    def answer(self, reply: bytes, *sentinels: ScriptedNode) -> None:
        for sentinel in sentinels:
            sentinel.answers["SENTINEL"] = reply
            for word in ("MASTER", "GET-MASTER-ADDR-BY-NAME"):
                sentinel.answers.pop(f"SENTINEL {word}", None)

    def silence(self, *sentinels: ScriptedNode) -> None:
        """Let Sentinels accept connections and answer nothing."""
        for sentinel in sentinels:
            sentinel.answers = {"": lambda _: None}

    def link(self) -> Link:
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return make_link(Target.of(f"redis+sentinel://{hosts}/rtaa"), Confirm.MEMORY, "rtaa")


@asynccontextmanager
async def group() -> AsyncIterator[tuple[Group, Link]]:
    """A group, and a link to its primary that leaves no task behind."""
    nodes = [await ScriptedNode().start() for _ in range(5)]
    it = Group(nodes)
    link = it.link()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield it, link
    finally:
        await link.close()
        for node in nodes:
            await node.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert all("ScriptedNode" in repr(task) for task in left), left


def at(server: ScriptedNode) -> list[bytes]:
    return [str(server.port).encode()]


async def test_the_server_that_a_majority_names_is_used() -> None:
    async with group() as (it, link):
        first, second = it.servers
        it.name(second, it.sentinels[0])
        assert await link.run(GET, [KEY]) == at(first)
        assert second.asked == []
        assert list(link.parts()) == [WHOLE]


async def test_two_of_three_sentinels_are_enough() -> None:
    async with group() as (it, link):
        await it.sentinels[0].stop()
        assert await link.run(GET, [KEY]) == at(it.servers[0])


async def test_a_sentinel_that_stands_still_keeps_nothing_waiting() -> None:
    async with group() as (it, link):
        it.silence(it.sentinels[2])
        began = monotonic()
        assert await link.run(GET, [KEY]) == at(it.servers[0])
        assert monotonic() - began < subject.FIRST_ASK_SECONDS - 1


async def test_without_a_majority_no_server_is_used() -> None:
    async with group() as (it, link):
        it.name(it.servers[1], it.sentinels[0])
        await it.sentinels[2].stop()
        with pytest.raises(BrokerUnavailable, match="no primary is named by 2 of 3") as raised:
            await link.run(GET, [KEY])
        assert it.sentinels[2].address in str(raised.value)
        assert all(server.asked == [] for server in it.servers)


async def test_a_name_that_no_sentinel_knows_is_refused() -> None:
    async with group() as (it, link):
        it.answer(b"*-1\r\n", *it.sentinels)
        with pytest.raises(BrokerRefused, match="knows no primary named rtaa"):
            await link.run(GET, [KEY])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("NOAUTH Authentication required.", BrokerRefused),
        ("WRONGPASS invalid username-password pair", BrokerUnavailable),
    ],
)
async def test_a_password_that_the_sentinels_do_not_take_is_told_as_theirs(
    reply: str, kind: type[Exception]
) -> None:
    async with group() as (it, link):
        for sentinel in it.sentinels:
            sentinel.answers = {"": error(reply)}
        with pytest.raises(kind) as raised:
            await link.run(GET, [KEY])
        for sentinel in it.sentinels:
            assert f"Sentinel {sentinel.address}" in str(raised.value)
        assert "sentinel_password=" in str(raised.value)
        assert "redis://" not in str(raised.value)


async def test_a_server_that_says_that_it_is_a_replica_is_not_used() -> None:
    async with group() as (it, link):
        first, second = it.servers
        first.answers["ROLE"] = array(bulk("slave"), bulk("127.0.0.1"), number(second.port))
        with pytest.raises(BrokerUnavailable, match="still a replica"):
            await link.run(GET, [KEY])
        assert first.asked_for("GET") == []
        it.name(second)
        assert await link.run(GET, [KEY]) == at(second)


async def replaced(it: Group, link: Link) -> None:
    """Have the primary replaced while a call waits for it."""
    first, second = it.servers
    await link.run(GET, [KEY])
    epoch = link.epoch_of(KEY)
    first.answers["GET"] = lambda _: None
    waiting = asyncio.create_task(link.run(GET, [KEY]))
    await until(lambda: len(first.asked_for("GET")) == 2)
    it.name(second, *it.sentinels[:2])
    with pytest.raises(BrokerUnavailable, match="name another primary"):
        await waiting
    assert await link.run(GET, [KEY]) == at(second)
    assert link.epoch_of(KEY) == epoch + 1


async def test_a_primary_that_was_replaced_is_given_up_while_it_still_answers() -> None:
    async with group() as (it, link):
        await replaced(it, link)


async def test_a_primary_that_was_replaced_is_given_up_beside_a_sentinel_that_stands_still() -> (
    None
):
    async with group() as (it, link):
        await link.run(GET, [KEY])
        it.silence(it.sentinels[2])
        await replaced(it, link)


async def test_a_link_that_only_tries_its_server_watches_too() -> None:
    async with group() as (it, link):
        first, second = it.servers
        assert await link.run_at(WHOLE, GET) == at(first)
        epoch = link.epoch_of(KEY)
        it.name(second)
        await until(lambda: _try(link, epoch))
        assert await link.run_at(WHOLE, GET) == at(second)


def _try(link: Link, epoch: int) -> bool:
    """Tell whether the connection of the epoch is given up."""
    assert link.epoch_of(KEY) == epoch
    return not link._connection.is_connected  # type: ignore[attr-defined]


async def test_without_a_majority_for_longer_than_down_after_the_primary_is_given_up() -> None:
    async with group() as (it, link):
        it.down_after_ms = "700"
        assert await link.run(GET, [KEY]) == at(it.servers[0])
        for sentinel in it.sentinels[:2]:
            await sentinel.stop()
        await until(lambda: _try(link, 1))
        with pytest.raises(BrokerUnavailable, match="no primary is named by 2 of 3"):
            await link.run(GET, [KEY])
        await it.sentinels[0].start()
        assert await link.run(GET, [KEY]) == at(it.servers[0])


async def test_without_a_majority_for_a_moment_the_primary_stays() -> None:
    async with group() as (it, link):
        await link.run(GET, [KEY])
        asked = len(it.sentinels[2].asked_for("SENTINEL"))
        for sentinel in it.sentinels[:2]:
            await sentinel.stop()
        await until(lambda: len(it.sentinels[2].asked_for("SENTINEL")) > asked + 2)
        assert await link.run(GET, [KEY]) == at(it.servers[0])
        assert link.epoch_of(KEY) == 1


async def test_how_long_the_sentinels_wait_is_known_only_from_them() -> None:
    async with group() as (it, link):
        for sentinel in it.sentinels:
            sentinel.answers["SENTINEL MASTER"] = error("NOPERM no")
        await link.run_at(WHOLE, GET)
        assert link.down_after_seconds is None
    async with group() as (it, link):
        it.down_after_ms = "2000"
        await link.run_at(WHOLE, GET)
        assert link.down_after_seconds == 2.0


async def test_close_ends_the_watch_and_who_waits_for_the_primary() -> None:
    async with group() as (it, link):
        it.silence(*it.sentinels)
        waiting = asyncio.create_task(link.run(GET, [KEY]))
        await until(lambda: all(sentinel.asked for sentinel in it.sentinels))
        await link.close()
        with pytest.raises(BrokerUnavailable, match="closed by us"):
            await waiting
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="closed by us"):
                await link.run(GET, [KEY])
            await link.close()
