"""The primaries of a cluster, with a connection each; a command goes to the owner of its slot.

A node that is slow or away affects only its own slots: calls for different nodes are concurrent,
and each node has its own connection, epoch and limits. The map of slots is read again every second,
when a node refuses a slot, and when a node does not answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import SystemRandom

from adapters.brokers.dialling import told_together
from adapters.brokers.shared_attempt import CLOSED, SharedAttempt
from adapters.brokers.standing_task import StandingTask
from adapters.outbound.redis_streams.cluster_node import Make, Node, Slots
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.replies import is_elsewhere, is_redirect
from adapters.outbound.redis_streams.resp import Command, Parts, Reply
from adapters.outbound.redis_streams.slot_map import NodeName, SlotMap
from adapters.outbound.redis_streams.slots import Key, slot_of
from adapters.outbound.redis_streams.target import Target
from application.ports.errors import BrokerUnavailable, PublisherError

ASK_EVERY_SECONDS = 1.0
ASK_SECONDS = 0.5
ASKED = 5
"""How often nodes are asked for the map, how long each may take, and how many are asked."""

ASK_PAUSE_SECONDS = 0.1
"""How long to wait at least before nodes are asked again."""

FIRST_ASK_SECONDS = 4.0
"""How long a node may take if it has to be connected to first."""

MAX_REDIRECTS = 4
"""How often a command follows its slot in one call."""

MARKS_TRIED = 3
"""How many words are tried until one is in a slot that is not being moved."""

MAX_SLOTS_KNOWN = 16_384
"""The number of streams whose slot is remembered."""

_ASKING: Command = ("ASKING",)

_random = SystemRandom()

_Sent = Command | Parts


class ClusterLink(Link):
    """Sends to the primaries, and keeps the map of their slots."""

    def __init__(self, target: Target, make: Make) -> None:
        self._slots = Slots(target, make)
        self._seeds = [self._slots.new_node((seed.host, seed.port)) for seed in target.seeds]
        self._slots_known: dict[Key, int] = {}
        self._learning = SharedAttempt(self._learn)
        self._refreshing = StandingTask(self._refresh)
        self._stale = asyncio.Event()
        self._is_closed = False

    async def run(self, commands: Sequence[_Sent], keys: Sequence[Key]) -> list[Reply]:
        """Run commands. See `Link.run`."""
        if not commands:
            return []
        await self._be_ready()
        owners = [self._slots.owner(self._slot_of(key)) for key in keys]
        first = owners[0]
        if first is not None and all(node is first for node in owners):
            replies = await self._run_at(first, commands)
        else:
            replies = await self._run_apart(commands, owners)
            if all(isinstance(reply, PublisherError) for reply in replies):
                raise replies[0]
        if any(is_redirect(reply) for reply in replies):
            await self._follow(commands, keys, replies)
        return replies

    async def run_at(self, part: str, commands: Sequence[Command]) -> list[Reply]:
        """Run commands. See `Link.run_at`."""
        await self._be_ready()
        return await self._run_at(self._slots.node_of_part(part), commands)

    async def run_marked(
        self, part: str, commands: Callable[[str], Sequence[Command]]
    ) -> list[Reply]:
        """Run commands. See `Link.run_marked`.

        The slot of one mark may be moving to another node, or have moved, while the node has all
        its other slots; it is unlikely for two marks.
        """
        await self._be_ready()
        node = self._slots.node_of_part(part)
        marks = self._slots.marks(node.name)
        for _ in range(MARKS_TRIED):
            replies = await self._run_at(node, commands(marks.now()))
            if not any(is_elsewhere(reply) for reply in replies):
                return replies
            marks.skip()
        self._stale.set()
        raise BrokerUnavailable(f"{node}: its slots are another's now")

    async def learn(self) -> None:
        """Read the map. See `Link.learn`."""
        await self._be_ready()

    async def connect(self, key: Key) -> None:
        """Be connected. See `Link.connect`."""
        await self._be_ready()
        node = self._slots.owner(self._slot_of(key))
        if node is not None:
            await node.connection.connect()

    def epoch_of(self, key: Key) -> int:
        """Count connections and owners of the key's slot. See `Link.epoch_of`."""
        return self._slots.epoch(self._slot_of(key))

    def part_of(self, key: Key) -> str:
        """Return the part. See `Link.part_of`."""
        return self._slots.part(self._slot_of(key))

    def parts(self) -> Sequence[str]:
        """Return a part for each primary; one for all until they are known. See `Link.parts`."""
        return self._slots.parts()

    def give_up(self, key: Key, why: str) -> None:
        """Lose the connection. See `Link.give_up`."""
        node = self._slots.owner(self._slot_of(key))
        if node is not None:
            node.connection.give_up(why)

    async def close(self) -> None:
        """Disconnect. See `Link.close`."""
        self._is_closed = True
        await self._learning.close()
        await self._refreshing.close()
        await self._slots.close()
        for node in self._seeds:
            await node.connection.close()

    def _slot_of(self, key: Key) -> int:
        slot = self._slots_known.get(key)
        if slot is None:
            if len(self._slots_known) >= MAX_SLOTS_KNOWN:
                self._slots_known.clear()
            slot = self._slots_known[key] = slot_of(key)
        return slot

    # Sending

    async def _run_at(self, node: Node, commands: Sequence[_Sent]) -> list[Reply]:
        """Run commands at a node; if it fails, or takes too long, the map may be old."""
        try:
            return await node.run(commands)
        except (PublisherError, asyncio.CancelledError):
            self._stale.set()
            raise

    async def _run_apart(
        self, commands: Sequence[_Sent], owners: Sequence[Node | None]
    ) -> list[Reply]:
        """Run commands at several nodes concurrently; the error of a node replaces its replies."""
        shares: dict[Node, list[int]] = {}
        replies: list[Reply] = [None] * len(commands)
        for index, node in enumerate(owners):
            if node is None:
                replies[index] = BrokerUnavailable("no node of the cluster serves the slot")
                self._stale.set()
            else:
                shares.setdefault(node, []).append(index)

        async def run(node: Node, indices: list[int]) -> None:
            found: Sequence[Reply]
            try:
                found = await self._run_at(node, [commands[index] for index in indices])
            except PublisherError as error:
                found = [error] * len(indices)
            for index, reply in zip(indices, found, strict=True):
                replies[index] = reply

        await asyncio.gather(*(run(node, indices) for node, indices in shares.items()))
        return replies

    async def _follow(
        self, commands: Sequence[_Sent], keys: Sequence[Key], replies: list[Reply]
    ) -> None:
        """Send commands again to the node that a redirection names as the owner of the slot."""
        for _ in range(MAX_REDIRECTS):
            redirected = [index for index, reply in enumerate(replies) if is_redirect(reply)]
            if not redirected:
                return
            self._raise_if_closed()
            nodes: list[Node | None] = []
            sent: list[_Sent] = []
            for index in redirected:
                kind, _, place = str(replies[index]).split(" ", 2)
                slot = self._slot_of(keys[index])
                node = self._slots.node(self._read_place(place, slot))
                if kind == "MOVED":
                    self._slots.guess(slot, node, asyncio.get_running_loop().time())
                    self._stale.set()
                else:  # for this time only, and only directly after the word that allows it
                    sent.append(_ASKING)
                    nodes.append(node)
                sent.append(commands[index])
                nodes.append(node)
            found = await self._run_apart(sent, nodes)
            answers = [it for it, command in zip(found, sent, strict=True) if command != _ASKING]
            for index, reply in zip(redirected, answers, strict=True):
                replies[index] = reply
        for index, reply in enumerate(replies):
            if is_redirect(reply):
                replies[index] = BrokerUnavailable("the slot goes from node to node")

    def _read_place(self, place: str, slot: int) -> NodeName:
        """Read HOST:PORT of a redirection; without a host it is that of the answering node."""
        host, _, port = place.rpartition(":")
        owner = self._slots.owner(slot)
        if host in ("", "?"):
            host = (owner or self._seeds[0]).name[0]
        return host.strip("[]"), int(port)

    # The map

    async def _be_ready(self) -> None:
        """Read the map, and keep it up to date."""
        self._raise_if_closed()
        if not self._slots.map.ranges:
            await self._learning.result()
            self._raise_if_closed()
        self._refreshing.ensure()

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise BrokerUnavailable(CLOSED)

    async def _learn(self) -> None:
        """Ask all seeds.

        Raises:
            PublisherError: none tells.

        """
        told = await self._ask(self._seeds, FIRST_ASK_SECONDS)
        if not self._slots.map.ranges:
            failures = [
                (str(node), it) for node, it in told.items() if isinstance(it, PublisherError)
            ]
            if not failures:
                raise BrokerUnavailable("the cluster serves no slot")
            raise told_together(failures)

    async def _refresh(self) -> None:
        """Ask some nodes regularly, and at once if a call has shown that the map may be old."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_SECONDS):
                    await self._stale.wait()
            self._stale.clear()
            nodes = [self._slots.node(name) for name in self._slots.map.primaries]
            told = await self._ask(_random.sample(nodes, min(ASKED, len(nodes))), ASK_SECONDS)
            if all(isinstance(it, PublisherError) for it in told.values()):
                await self._ask(self._seeds, ASK_SECONDS)
            await self._slots.let_go(asyncio.get_running_loop().time())
            await asyncio.sleep(ASK_PAUSE_SECONDS)

    async def _ask(
        self, nodes: Sequence[Node], seconds: float
    ) -> dict[Node, SlotMap | PublisherError]:
        """Ask nodes for the map, and use the majority's."""
        found = await asyncio.gather(*(node.tell_slots(seconds) for node in nodes))
        told = dict(zip(nodes, found, strict=True))
        self._slots.take(told, asyncio.get_running_loop().time())
        return told
