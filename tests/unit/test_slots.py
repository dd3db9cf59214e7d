"""Which slot a key is in, which node has it, and what stays the same when that changes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.cluster_node import GUESS_SECONDS, UNUSED_SECONDS, Node, Slots
from adapters.outbound.redis_streams.confirm import Confirm, pipeline_to
from adapters.outbound.redis_streams.layout import facts_key, stream_key
from adapters.outbound.redis_streams.link import WHOLE
from adapters.outbound.redis_streams.marks import MARK
from adapters.outbound.redis_streams.server import Pipeline
from adapters.outbound.redis_streams.slot_map import NodeName, Range, SlotMap, agreed
from adapters.outbound.redis_streams.slots import SLOTS, slot_of
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerUnavailable
from domain.identifiers import StreamId, StreamKey, TenantId
from examples import examples

NAMES: list[NodeName] = [(f"10.0.0.{number}", 7_000 + number) for number in range(6)]


@given(st.text(st.characters(codec="utf-8")) | st.text("{}a", max_size=8))
def test_a_key_is_in_the_slot_that_redis_says(key: str) -> None:
    assert slot_of(key) == key_slot(key.encode())


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@+=-]{0,19}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@+=-]{0,19}", fullmatch=True),
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
def test_all_keys_of_a_stream_are_in_the_slot_of_its_name(
    tenant: str, stream: str, prefix: str
) -> None:
    key = StreamKey(TenantId(tenant), StreamId(stream))
    assert slot_of(key) == slot_of(stream_key(prefix, key)) == slot_of(facts_key(prefix, key))


@st.composite
def maps(draw: st.DrawFn) -> SlotMap:
    """Ranges that share the slots, of which some may be served by none."""
    cuts = draw(st.lists(st.integers(1, SLOTS - 1), max_size=8, unique=True))
    edges = [0, *sorted(cuts), SLOTS]
    ranges: list[Range] = []
    for first, after in pairwise(edges):
        owner = draw(st.sampled_from([*NAMES, None]))
        if owner is not None:
            ranges.append((first, after - 1, owner))
    return SlotMap(tuple(ranges))


def reply_of(slot_map: SlotMap, told_by: str = "") -> list[Any]:
    """Write the reply to CLUSTER SLOTS; a node does not name its own host."""
    return [
        [first, last, [None if host == told_by else host.encode(), port, b"id"], [b"r", 1, b"id"]]
        for first, last, (host, port) in slot_map.ranges
    ]


@given(maps(), st.randoms())
def test_a_map_is_read_as_it_is_told_in_whatever_order(slot_map: SlotMap, random: Any) -> None:
    host = NAMES[0][0]
    reply = reply_of(slot_map, host)
    random.shuffle(reply)
    assert SlotMap.told(reply, host) == slot_map
    owners = dict(slot_map.owners())
    assert slot_map.is_whole == (len(owners) == SLOTS)
    assert set(owners.values()) == set(slot_map.primaries)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_that_does_not_know_its_host_has_that_by_which_it_was_asked(
    host: bytes | None,
) -> None:
    told = SlotMap.told([[0, 5, [host, 7_000]]], "asked")
    assert told.primaries == (("asked", 7_000),)


@pytest.mark.parametrize(
    "reply",
    [
        None, 1, b"OK", [None], [1], [[]], [[0, 1]], [[0, 1, None]], [[0, 1, []]],
        [[0, 1, [b"a"]]], [[b"x", 1, [b"a", 1]]], [[0, 1, [b"a", b"x"]]], [[0, 1, [5, 1]]],
        [[0, 1, [b"\xff", 1]]], [[-1, 1, [b"a", 1]]], [[0, SLOTS, [b"a", 1]]],
        [[5, 4, [b"a", 1]]],
    ],
)  # fmt: skip
def test_what_is_no_map_is_a_value_error(reply: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        SlotMap.told(reply, "host")


@given(st.dictionaries(st.sampled_from(NAMES), maps(), max_size=5), maps())
def test_the_map_is_one_that_most_nodes_tell(
    told: Mapping[NodeName, SlotMap], known: SlotMap
) -> None:
    found = agreed(told, known)
    votes = [it for it in told.values() if it.ranges]
    if not votes:
        assert found is None
        return
    assert found is not None
    most = max(map(votes.count, votes))
    assert votes.count(found) == most
    if votes.count(known) == most:
        assert found == known


# The owners of slots


def make(_: Address, mark: Any) -> Pipeline:
    return pipeline_to(_, Confirm.MEMORY, "rtaa", mark)


def slots() -> Slots:
    return Slots(Target.of("redis+cluster://10.0.0.0:7000"), make)


WATCHED = [0, 1, 5_000, 8_191, 8_192, SLOTS - 1, slot_of(MARK)]


def connect(node: Node) -> None:
    """Count one more connection of a node."""
    node.connection._epoch += 1


@given(
    st.lists(
        st.one_of(
            maps(),
            st.tuples(st.sampled_from(WATCHED), st.sampled_from(NAMES)),
            st.sampled_from(NAMES),
            st.floats(0, 20),
        ),
        max_size=12,
    )
)
@settings(max_examples=examples(60), deadline=None)
async def test_the_epoch_of_a_slot_only_grows_and_does_with_each_owner_and_connection(
    changes: Sequence[Any],
) -> None:
    it, now = slots(), 100.0
    for change in changes:
        before = {slot: (it.owner(slot), it.epoch(slot)) for slot in WATCHED}
        connected: Node | None = None
        match change:
            case SlotMap():
                voter = it.new_node(NAMES[0])
                it.take({voter: change}, now)
            case (int() as slot, name):
                it.guess(slot, it.node(name), now)
            case (str(), int()):
                connected = it.node(change)
                connect(connected)
            case seconds:
                now += seconds
                await it.let_go(now)
        for slot, (owner, epoch) in before.items():
            is_changed = it.owner(slot) is not owner or (
                connected is not None and owner is connected
            )
            assert it.epoch(slot) == epoch + is_changed
    await it.close()


async def told(it: Slots, slot_map: SlotMap, now: float) -> None:
    it.take({it.new_node(NAMES[0]): slot_map}, now)


THIRDS = SlotMap(((0, 4_999, NAMES[0]), (5_000, 9_999, NAMES[1]), (10_000, SLOTS - 1, NAMES[2])))


async def test_a_guess_is_believed_for_its_time_and_then_the_map() -> None:
    it = slots()
    await told(it, THIRDS, 100.0)
    it.guess(7, it.node(NAMES[1]), 100.0)
    for now in (100.5, 100.0 + GUESS_SECONDS - 0.1):
        await told(it, THIRDS, now)
        owner = it.owner(7)
        assert owner is not None
        assert owner.name == NAMES[1]
    await told(it, THIRDS, 100.0 + GUESS_SECONDS)
    owner = it.owner(7)
    assert owner is not None
    assert owner.name == NAMES[0]


async def test_parts_keep_their_names_in_a_failover() -> None:
    it = slots()
    assert (it.part(7), list(it.parts())) == (WHOLE, [WHOLE])
    await told(it, THIRDS, 100.0)
    parts = [it.part(slot) for slot in (0, 5_000, SLOTS - 1)]
    assert parts == list(it.parts()) == ["shard-1", "shard-2", "shard-3"]
    replaced = SlotMap((THIRDS.ranges[0], (5_000, 9_999, NAMES[5]), THIRDS.ranges[2]))
    await told(it, replaced, 101.0)
    assert [it.part(slot) for slot in (0, 5_000, SLOTS - 1)] == parts
    assert it.node_of_part("shard-2").name == NAMES[5]


async def test_a_part_that_is_gone_is_told() -> None:
    it = slots()
    await told(it, THIRDS, 100.0)
    await told(it, SlotMap(((0, SLOTS - 1, NAMES[0]),)), 101.0)
    assert list(it.parts()) == ["shard-1"]
    with pytest.raises(BrokerUnavailable, match="no shard-3 any more"):
        it.node_of_part("shard-3")


@given(st.lists(maps().filter(lambda it: bool(it.ranges)), min_size=1, max_size=4))
@settings(max_examples=examples(30), deadline=None)
async def test_a_mark_is_always_in_the_slots_of_its_part(changes: Sequence[SlotMap]) -> None:
    it = slots()
    for slot_map in changes:
        await told(it, slot_map, 100.0)
        owned = {name: set[int]() for name in slot_map.primaries}
        for slot, name in slot_map.owners():
            owned[name].add(slot)
        for part in it.parts():
            node = it.node_of_part(part)
            marks = it.marks(node.name)
            first = marks.now()
            assert slot_of(first) in owned[node.name]
            marks.skip()
            second = marks.now()
            assert slot_of(second) in owned[node.name]
            assert (slot_of(second) != slot_of(first)) == (len(owned[node.name]) > 1)
    await it.close()


async def test_a_node_that_is_not_used_is_let_go_and_no_other() -> None:
    it = slots()
    await told(it, THIRDS, 100.0)
    spare = it.node(NAMES[4])
    await it.let_go(spare.used_at + UNUSED_SECONDS)
    assert it.node(NAMES[4]) is spare
    await it.let_go(spare.used_at + UNUSED_SECONDS + 0.1)
    again = it.node(NAMES[4])
    assert again is not spare
    it.guess(7, again, 100.0)
    await it.let_go(again.used_at + 10 * UNUSED_SECONDS)
    assert it.node(NAMES[4]) is again
