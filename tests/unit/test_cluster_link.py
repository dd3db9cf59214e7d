"""The way to a cluster, against nodes that say what they are told to over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from scripted_node import OK, Asked, ScriptedNode, array, bulk, error, number

from adapters.outbound.redis_streams import cluster as subject
from adapters.outbound.redis_streams.cluster import MAX_REDIRECTS, ClusterLink
from adapters.outbound.redis_streams.confirm import Confirm, pipeline_to
from adapters.outbound.redis_streams.link import WHOLE
from adapters.outbound.redis_streams.replies import failure_of
from adapters.outbound.redis_streams.resp import Command, ErrorReply
from adapters.outbound.redis_streams.scripts import SCRIPTS
from adapters.outbound.redis_streams.slots import SLOTS, slot_of
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

LIMIT_SECONDS = 20.0
SCRIPT = SCRIPTS["probe"]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # within the limit of the cluster
        await asyncio.sleep(0.005)


class Cluster:
    """Nodes that each tell the map that `owners` makes: slots in equal shares, in that order."""

    def __init__(self, nodes: Sequence[ScriptedNode]) -> None:
        self.nodes = list(nodes)
        self.owners = self.nodes[:3]
        for node in self.nodes:
            node.answers["CLUSTER SLOTS"] = lambda _: self.slots(self.owners)
            node.answers["GET"] = lambda _, node=node: bulk(str(node.port))  # type: ignore[misc]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def slots(self, owners: Sequence[ScriptedNode], first: int = 0) -> bytes:
        shares = [SLOTS * number // len(owners) for number in range(len(owners) + 1)]
        return array(
            *(
                array(
                    number(shares[rank]),
                    number(shares[rank + 1] - 1),
                    array(bulk("127.0.0.1"), number(node.port), bulk("id")),
                )
                for rank, node in enumerate(owners)
                if rank >= first
            )
        )

    def key_of(self, node: ScriptedNode, after: int = 0) -> str:
        """A key whose slot the node has, by the map."""
        rank, of = self.owners.index(node), len(self.owners)
        share = range(SLOTS * rank // of, SLOTS * (rank + 1) // of)
        return next(key for n in range(after, 10**6) if slot_of(key := f"key-{n}") in share)

    def link(self, confirm: Confirm = Confirm.MEMORY) -> ClusterLink:
        return ClusterLink(
            Target.of(self.url),
            lambda address, mark: pipeline_to(address, confirm, "rtaa", mark),
        )


@asynccontextmanager
async def cluster(
    confirm: Confirm = Confirm.MEMORY, nodes: int = 4
) -> AsyncIterator[tuple[Cluster, ClusterLink]]:
    """Three nodes with slots and one without, and a link that leaves no task behind."""
    started = [await ScriptedNode().start() for _ in range(nodes)]
    it = Cluster(started)
    link = it.link(confirm)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield it, link
    finally:
        await link.close()
        for node in started:
            await node.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert all("ScriptedNode" in repr(task) for task in left), left


def moved(key: str, node: ScriptedNode) -> bytes:
    return error(f"MOVED {slot_of(key)} {node.address}")


def ask(key: str, node: ScriptedNode) -> bytes:
    return error(f"ASK {slot_of(key)} {node.address}")


async def test_each_command_goes_to_the_node_that_has_its_slot() -> None:
    async with cluster() as (it, link):
        keys = [it.key_of(node) for node in it.owners] * 2
        replies = await link.run([("GET", key) for key in keys], keys)
        assert replies == [str(node.port).encode() for node in it.owners] * 2
        assert list(link.parts()) == ["shard-1", "shard-2", "shard-3"]
        assert [link.part_of(key) for key in keys[:3]] == list(link.parts())
        assert await link.run([], []) == []


async def test_a_slot_that_has_moved_is_followed_and_remembered() -> None:
    async with cluster() as (it, link):
        a, b, _, spare = it.nodes
        key = it.key_of(a)
        await link.run([("GET", key)], [key])
        epoch, before = link.epoch_of(key), len(a.asked_for("CLUSTER", "SLOTS"))
        a.answers["GET"] = moved(key, spare)
        assert await link.run([("GET", key)], [key]) == [str(spare.port).encode()]
        assert link.epoch_of(key) > epoch
        assert await link.run([("GET", key)], [key]) == [str(spare.port).encode()]
        assert len(a.asked_for("GET")) == 2
        await until(lambda: len(a.asked_for("CLUSTER", "SLOTS")) > before)
        other = it.key_of(b)
        assert await link.run([("GET", other)], [other]) == [str(b.port).encode()]


async def test_a_slot_that_is_on_its_way_is_followed_for_that_time_only() -> None:
    async with cluster() as (it, link):
        a, b, _, spare = it.nodes
        keys = [it.key_of(a), it.key_of(b), it.key_of(a, 10)]
        await link.run([("GET", key) for key in keys], keys)
        epoch = link.epoch_of(keys[0])
        a.answers["GET"] = ask(keys[0], spare)
        for _ in range(2):
            replies = await link.run([("GET", key) for key in keys], keys)
            assert replies == [str(node.port).encode() for node in (spare, b, spare)]
        assert link.epoch_of(keys[0]) == epoch
        words = [asked[0] for asked in spare.asked if asked[0] in ("ASKING", "GET")]
        assert words == ["ASKING", "GET"] * 4


async def test_a_script_that_the_other_node_does_not_know_is_loaded_there_and_asked_again() -> None:
    async with cluster() as (it, link):
        a, _, _, spare = it.nodes
        key = it.key_of(a)
        may_ask = False

        def importing(asked: Asked) -> bytes:
            """As a node that imports a slot: a command without ASKING before it is sent back."""
            nonlocal may_ask
            is_allowed, may_ask = may_ask, asked[0] == "ASKING"
            if asked[0] != "EVALSHA":
                return OK
            if not spare.asked_for("SCRIPT"):
                return error("NOSCRIPT No matching script")
            return number(1) if is_allowed else moved(key, a)

        a.answers["EVALSHA"] = ask(key, spare)
        spare.answers[""] = importing
        assert await link.run([SCRIPT.call([key], ())], [key]) == [1]


@pytest.mark.parametrize("text", ["TRYAGAIN Multiple keys", "CLUSTERDOWN Hash slot not served"])
async def test_what_passes_by_itself_stands_in_its_place(text: str) -> None:
    async with cluster() as (it, link):
        a, b, _, _ = it.nodes
        a.answers["GET"] = error(text)
        keys = [it.key_of(a), it.key_of(b)]
        replies = await link.run([("GET", key) for key in keys], keys)
        assert isinstance(replies[0], ErrorReply)
        assert isinstance(failure_of(replies[0]), BrokerUnavailable)
        assert replies[1] == str(b.port).encode()
        assert len(a.asked_for("GET")) == 1


async def test_of_a_call_to_several_nodes_only_what_is_for_the_one_that_is_away_fails() -> None:
    async with cluster() as (it, link):
        a, b, c, _ = it.nodes
        keys = [it.key_of(node) for node in (a, b, c, b)]
        await link.run([("GET", key) for key in keys], keys)
        await b.stop()
        replies = await link.run([("GET", key) for key in keys], keys)
        assert (replies[0], replies[2]) == (str(a.port).encode(), str(c.port).encode())
        for reply in (replies[1], replies[3]):
            assert isinstance(reply, BrokerUnavailable)
            assert b.address in str(reply)
        with pytest.raises(BrokerUnavailable, match=b.address):
            await link.run([("GET", keys[1])], [keys[1]])
        with pytest.raises(BrokerUnavailable, match=b.address):
            await link.run_one(("GET", keys[1]), keys[1])


async def test_when_all_nodes_of_a_call_are_away_the_call_fails() -> None:
    async with cluster() as (it, link):
        a, b, _, _ = it.nodes
        keys = [it.key_of(node) for node in (a, b)]
        await link.learn()
        await a.stop()
        await b.stop()
        with pytest.raises(BrokerUnavailable):
            await link.run([("GET", key) for key in keys], keys)


async def test_a_node_without_an_answer_keeps_no_call_of_another_waiting() -> None:
    async with cluster() as (it, link):
        a, b, _, _ = it.nodes
        stuck, other = it.key_of(a), it.key_of(b)
        await link.learn()
        a.answers["GET"] = lambda _: None
        waiting = asyncio.create_task(link.run([("GET", stuck)], [stuck]))
        await until(lambda: a.asked_for("GET"))
        for _ in range(50):
            assert await link.run([("GET", other)], [other]) == [str(b.port).encode()]
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()


async def test_a_slot_that_no_node_serves_is_told() -> None:
    async with cluster() as (it, link):
        a, b, c, _ = it.nodes
        gone, there = it.key_of(a), it.key_of(b)
        for node in it.nodes:
            node.answers["CLUSTER SLOTS"] = it.slots([a, b, c], first=1)
        replies = await link.run([("GET", gone), ("GET", there)], [gone, there])
        assert isinstance(replies[0], BrokerUnavailable)
        assert "no node" in str(replies[0])
        assert replies[1] == str(b.port).encode()


async def test_a_slot_that_goes_from_node_to_node_is_not_followed_for_ever() -> None:
    async with cluster() as (it, link):
        a, b, _, _ = it.nodes
        keys = [it.key_of(a), it.key_of(b)]
        a.answers[f"GET {keys[0]}".upper()] = moved(keys[0], b)
        b.answers[f"GET {keys[0]}".upper()] = moved(keys[0], a)
        replies = await link.run([("GET", key) for key in keys], keys)
        assert isinstance(replies[0], BrokerUnavailable)
        assert replies[1] == str(b.port).encode()
        asked = [*a.asked_for("GET", keys[0]), *b.asked_for("GET", keys[0])]
        assert len(asked) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize("host", ["", "?"])
async def test_a_redirection_without_a_host_means_that_of_who_redirects(host: str) -> None:
    async with cluster() as (it, link):
        a, _, _, spare = it.nodes
        key = it.key_of(a)
        a.answers["GET"] = error(f"MOVED {slot_of(key)} {host}:{spare.port}")
        assert await link.run([("GET", key)], [key]) == [str(spare.port).encode()]


@pytest.mark.parametrize("text", ["MOVED 5", "MOVED 5 nowhere", "ASK 5 127.0.0.1:x", "MOVED x"])
async def test_a_redirection_that_cannot_be_read_is_told(text: str) -> None:
    async with cluster() as (it, link):
        a, b, _, _ = it.nodes
        keys = [it.key_of(a), it.key_of(b)]
        a.answers["GET"] = error(text)
        replies = await link.run([("GET", key) for key in keys], keys)
        assert isinstance(failure_of(replies[0]), PublisherError)
        assert replies[1] == str(b.port).encode()


# The map


async def test_the_map_is_learned_from_the_hosts_that_answer() -> None:
    async with cluster() as (it, link):
        await it.nodes[3].stop()
        it.nodes[0].answers["CLUSTER SLOTS"] = error(
            "ERR This instance has cluster support disabled"
        )
        it.nodes[0].answers["GET"] = OK
        assert list(link.parts()) == [WHOLE]
        await link.learn()
        assert len(link.parts()) == 3


async def test_why_no_host_tells_the_map_is_told_of_each() -> None:
    async with cluster() as (it, link):
        for node in it.nodes[1:]:
            await node.stop()
        it.nodes[0].answers["CLUSTER SLOTS"] = error(
            "ERR This instance has cluster support disabled"
        )
        for _ in range(2):
            with pytest.raises(BrokerUnavailable) as raised:
                await link.learn()
            for node in it.nodes:
                assert node.address in str(raised.value)
            assert "cluster support disabled" in str(raised.value)
        for node in it.nodes[1:]:
            await node.start()
        await link.learn()


async def test_one_that_is_no_node_of_a_cluster_is_refused() -> None:
    async with cluster() as (it, link):
        for node in it.nodes:
            node.answers["CLUSTER SLOTS"] = error("ERR unknown command 'CLUSTER'")
        with pytest.raises(BrokerRefused):
            await link.learn()


async def test_a_primary_that_is_replaced_is_noticed_without_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "ASK_EVERY_SECONDS", 0.05)
    async with cluster() as (it, link):
        a, b, c, spare = it.nodes
        key = it.key_of(b)
        await link.run([("GET", key)], [key])
        epoch, part = link.epoch_of(key), link.part_of(key)
        it.owners = [a, spare, c]
        await until(lambda: link.epoch_of(key) > epoch)
        assert link.part_of(key) == part
        assert await link.run([("GET", key)], [key]) == [str(spare.port).encode()]


async def test_a_call_that_waits_for_a_replaced_primary_fails_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "ASK_EVERY_SECONDS", 0.05)
    async with cluster() as (it, link):
        a, b, c, spare = it.nodes
        key = it.key_of(b)
        await link.learn()
        b.answers["GET"] = lambda _: None
        waiting = asyncio.create_task(link.run([("GET", key)], [key]))
        await until(lambda: b.asked_for("GET"))
        it.owners = [a, spare, c]
        with pytest.raises(BrokerUnavailable, match="serves no slot any more"):
            await waiting


async def test_when_no_primary_answers_the_hosts_of_the_url_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "ASK_EVERY_SECONDS", 0.05)
    async with cluster(nodes=6) as (it, link):
        await link.learn()
        for node in it.nodes[:3]:
            await node.stop()
        it.owners = it.nodes[3:]
        key = it.key_of(it.nodes[4])
        await until(lambda: link._slots.map.primaries[0][1] == it.nodes[3].port)
        assert await link.run([("GET", key)], [key]) == [str(it.nodes[4].port).encode()]


# Ends


async def test_close_tells_who_waits_for_the_map() -> None:
    async with cluster() as (it, link):
        for node in it.nodes:
            node.answers["CLUSTER SLOTS"] = lambda _: None
        waiting = [asyncio.create_task(call()) for call in (link.learn, link.learn)]
        await until(lambda: all(node.asked_for("CLUSTER") for node in it.nodes))
        await link.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, BrokerUnavailable)
            assert "closed by us" in str(outcome)


async def test_a_link_that_is_closed_when_the_map_is_known_asks_no_more() -> None:
    async with cluster() as (it, link):
        call = asyncio.create_task(link.learn())
        await until(lambda: link._slots.map.ranges)
        await link.close()
        await asyncio.wait([call])
        asked = sum(len(node.asked) for node in it.nodes)
        assert link._refreshing._task is None or link._refreshing._task.done()
        with pytest.raises(BrokerUnavailable, match="closed by us"):
            await link.learn()
        await link.close()
        assert sum(len(node.asked) for node in it.nodes) == asked


async def test_close_fails_the_calls_that_wait_and_connects_no_more() -> None:
    async with cluster() as (it, link):
        a, b, _, spare = it.nodes
        keys = [it.key_of(a), it.key_of(b)]
        await link.learn()
        a.answers["GET"] = lambda _: None
        b.answers["GET"] = moved(keys[1], spare)
        call = asyncio.create_task(link.run([("GET", key) for key in keys], keys))
        await until(lambda: a.asked_for("GET") and b.asked_for("GET"))
        await link.close()
        before = spare.connections
        with pytest.raises(BrokerUnavailable):
            await call
        assert spare.connections == before


async def test_who_gives_up_waiting_for_the_map_does_not_end_the_question() -> None:
    async with cluster() as (it, link):
        may_answer = asyncio.Event()
        for node in it.nodes:
            await node.stop()
        nodes = it.nodes
        first, second = (asyncio.create_task(link.learn()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        for node in nodes:
            await node.start()
        may_answer.set()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert not second.cancelled()


# Marks


async def test_a_mark_whose_slot_is_on_its_way_is_changed_for_another() -> None:
    async with cluster() as (it, link):
        await link.learn()
        part, node = "shard-1", it.owners[0]
        marks: list[str] = []

        def commands(mark: str) -> list[Command]:
            marks.append(mark)
            return [("GET", mark), ("SET", "x", 1)]

        for redirection in (ask, moved):
            marks.clear()
            await link.run_marked(part, commands)
            node.answers["GET"] = redirection(marks[0], it.nodes[3])
            with pytest.raises(BrokerUnavailable, match="its slots are another's"):
                await link.run_marked(part, commands)
            del node.answers["GET"]
            await link.run_marked(part, commands)
            assert len({slot_of(mark) for mark in marks[1:-1]}) == 3
            assert {link.part_of(mark) for mark in marks} == {part}


async def test_a_node_that_waits_for_its_replica_writes_to_slots_of_its_own() -> None:
    async with cluster(Confirm.REPLICA) as (it, link):
        a, _, _, spare = it.nodes
        key = it.key_of(a)
        for node in it.nodes:
            node.answers["WAIT"] = number(1)
        await link.run([("GET", key)], [key])
        (written,) = a.asked_for("SET")
        assert link.part_of(written[1]) == link.part_of(key)
        a.answers["SET"] = ask("mark", spare)
        with pytest.raises(BrokerUnavailable, match="another's"):
            await link.run([("GET", key)], [key])
        a.answers["SET"] = OK
        assert await link.run([("GET", key)], [key]) == [str(a.port).encode()]
        assert a.asked_for("SET")[-1][1] != written[1]
