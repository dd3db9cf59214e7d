"""One primary of a cluster, and the known owners of the slots."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.link import WHOLE
from adapters.outbound.redis_streams.marks import MARK, Marks
from adapters.outbound.redis_streams.replies import raise_if_error
from adapters.outbound.redis_streams.resp import Command, Parts, Reply
from adapters.outbound.redis_streams.server import Pipeline
from adapters.outbound.redis_streams.slot_map import NodeName, SlotMap, agreed
from adapters.outbound.redis_streams.slots import SLOTS, slot_of
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

GUESS_SECONDS = 3.0
"""How long a redirection overrides the map of the majority."""

UNUSED_SECONDS = 10.0
"""After how long a node without slots and without redirections to it is dropped."""

PART = "shard-"
"""The beginning of the names of parts; the rank of their first slots follows, from 1 on."""

Make = Callable[[Address, Marks], Pipeline]
"""Makes the pipeline to a node; the second are words in its slots."""

_log = logging.getLogger(__name__)


class Node:
    """A current or former primary."""

    def __init__(self, pipeline: Pipeline, name: NodeName) -> None:
        self.pipeline = pipeline
        self.connection = pipeline.connection
        self.name = name
        self.used_at = 0.0

    def __str__(self) -> str:
        return f"{self.name[0]}:{self.name[1]}"

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Run commands at this node.

        Raises:
            PublisherError: it was not reached; the message names it.

        """
        self.used_at = asyncio.get_running_loop().time()
        try:
            return await self.pipeline.run(commands)
        except PublisherError as error:
            if str(self) in str(error):
                raise
            raise type(error)(f"{self}: {error}") from error

    async def tell_slots(self, seconds: float) -> SlotMap | PublisherError:
        """Return this node's map of slots, or the cause of its failure."""
        try:
            async with asyncio.timeout(seconds):
                (reply,) = await self.connection.run([("CLUSTER", "SLOTS")])
            raise_if_error(reply)
            return SlotMap.told(reply, self.name[0])
        except TimeoutError:
            return BrokerUnavailable(f"{self}: no answer within {seconds:g} s")
        except ValueError as error:
            return BrokerRefused(f"{self}: {error}")
        except PublisherError as error:
            return error


class Slots:
    """The owners of the slots. The epoch of a slot grows with each owner and connection."""

    def __init__(self, target: Target, make: Make) -> None:
        self.map = SlotMap()
        self._target = target
        self._make = make
        self._nodes: dict[NodeName, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._bases = [0] * SLOTS
        self._ranks = [0] * SLOTS
        self._marks: dict[NodeName, str] = {}
        self._skipped: dict[NodeName, set[int]] = {}
        self._guessed_until = 0.0

    def node(self, name: NodeName) -> Node:
        """Return the node of a name; it is connected when it is used."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = self.new_node(name)
            node.used_at = asyncio.get_running_loop().time()
        return node

    def new_node(self, name: NodeName) -> Node:
        """Return a node with a connection of its own."""
        return Node(self._make(self._target.at(*name), self.marks(name)), name)

    def owner(self, slot: int) -> Node | None:
        """Return the node that has a slot; None if no node serves it."""
        return self._owners[slot]

    def epoch(self, slot: int) -> int:
        """Count the owners of a slot and the connections to them."""
        node = self._owners[slot]
        return self._bases[slot] + (0 if node is None else node.connection.epoch)

    # Parts

    def part(self, slot: int) -> str:
        """Return the part of a slot."""
        return _part(self._ranks[slot]) if self.map.ranges else WHOLE

    def parts(self) -> Sequence[str]:
        """Return a part for each primary; one for all until they are known."""
        primaries = self.map.primaries
        return [_part(rank) for rank in range(len(primaries))] if primaries else (WHOLE,)

    def node_of_part(self, part: str) -> Node:
        """Return the primary of a part, the first for the whole.

        Raises:
            BrokerUnavailable: there is no such part any more.

        """
        primaries = self.map.primaries
        rank = 0 if part == WHOLE else int(part.removeprefix(PART)) - 1
        if rank >= len(primaries):
            raise BrokerUnavailable(f"the cluster has no {part} any more")
        return self.node(primaries[rank])

    def marks(self, name: NodeName) -> Marks:
        """Return the words in slots of a node."""
        return _MarksAt(self, name)

    def mark_at(self, name: NodeName) -> str:
        """Return a word in a slot of a node, always the same until it is skipped.

        Raises:
            BrokerUnavailable: the node serves no slot.

        """
        mark = self._marks.get(name)
        if mark is None:
            owned = self._slots_at(name)
            slots = owned - self._skipped.get(name, set()) or owned
            if not slots:
                raise BrokerUnavailable(f"{name[0]}:{name[1]} serves no slot of the cluster")
            tried = (MARK if n == 0 else f"{MARK}-{n}" for n in count())
            mark = self._marks[name] = next(it for it in tried if slot_of(it) in slots)
        return mark

    def skip_mark(self, name: NodeName) -> None:
        """Use a word in another slot of a node; when none is left, start over with the first."""
        mark = self._marks.pop(name, None)
        if mark is not None:
            skipped = self._skipped.setdefault(name, set())
            skipped.add(slot_of(mark))
            if skipped >= self._slots_at(name):
                skipped.clear()

    def _slots_at(self, name: NodeName) -> set[int]:
        """Return the slots of a node, including those from redirections."""
        owners = enumerate(self._owners)
        return {slot for slot, owner in owners if owner is not None and owner.name == name}

    # Changes

    def guess(self, slot: int, node: Node, now: float) -> None:
        """Follow a redirection, which names the owner of a slot."""
        self._guessed_until = now + GUESS_SECONDS
        self._assign(slot, node)

    def take(self, told: Mapping[Node, SlotMap | PublisherError], now: float) -> None:
        """Use the map of the majority."""
        maps = {node.name: it for node, it in told.items() if isinstance(it, SlotMap)}
        found = agreed(maps, self.map)
        if found is None or (found == self.map and not 0 < self._guessed_until <= now):
            return
        if found != self.map:
            primaries = [f"{host}:{port}" for host, port in found.primaries]
            _log.info("the primaries of the cluster are known", extra={"primaries": primaries})
        self._guessed_until = 0.0
        gone = set(self.map.primaries) - set(found.primaries)
        self.map = found
        self._marks.clear()
        self._skipped.clear()
        ranks = {name: rank for rank, name in enumerate(found.primaries)}
        served = dict(found.owners())
        for slot in range(SLOTS):
            name = served.get(slot)
            if name is not None:
                self._ranks[slot] = ranks[name]
            self._assign(slot, None if name is None else self.node(name))
        for name in gone:  # what waits for it fails at once, and goes to the one that follows
            self.node(name).connection.give_up("it serves no slot any more")

    async def let_go(self, now: float) -> None:
        """Disconnect from nodes that own no slot and are not used any more."""
        owning = set(self._owners)
        unused = [
            node
            for node in self._nodes.values()
            if node not in owning and now - node.used_at > UNUSED_SECONDS
        ]
        for node in unused:  # all at once: while one is closed another may be named again
            del self._nodes[node.name]
        for node in unused:
            await node.connection.close()

    async def close(self) -> None:
        """Disconnect from all."""
        for node in list(self._nodes.values()):
            await node.connection.close()

    def _assign(self, slot: int, node: Node | None) -> None:
        owner = self._owners[slot]
        if node is not owner:
            epoch = self.epoch(slot)
            self._owners[slot] = node
            self._bases[slot] = epoch + 1 - (0 if node is None else node.connection.epoch)


class _MarksAt(Marks):
    """Words in slots of a node, as far as is known."""

    def __init__(self, slots: Slots, name: NodeName) -> None:
        self._slots = slots
        self._name = name

    def now(self) -> str:
        """Return the word in use. See `Marks.now`."""
        return self._slots.mark_at(self._name)

    def skip(self) -> None:
        """Use another. See `Marks.skip`."""
        self._slots.skip_mark(self._name)


def _part(rank: int) -> str:
    return f"{PART}{rank + 1}"
