"""A cluster of Valkey servers, whose slots can be moved and left half moved."""

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from closing import Started
from cluster_views import SLOTS, Slots, master_port, port_at, serves, slot_of, slots_of
from slot_move import SlotMove
from valkey_node import DATA_CONFIG, ValkeyNode, holds
from waiting import wait_for, wait_until

LIMIT_SECONDS = 60.0

AWAY = frozenset({"fail", "fail?", "handshake", "noaddr"})


class ValkeyCluster(Started):
    """Masters that share the slots, replicas in turn, for as long as the context lasts.

    `config` is added to the configuration of all nodes.
    """

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 1000,
        full_coverage: str = "no",
        *,
        password: str | None = None,
        **config: str,
    ) -> None:
        """`replicas` are those of all masters together: the first is the first master's."""
        self.nodes: list[ValkeyNode] = []
        self._first_masters = masters
        self._first_replicas = replicas
        self._password = password
        self._config = {
            **DATA_CONFIG,
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(node_timeout_ms),
            "cluster-require-full-coverage": full_coverage,
            "cluster-announce-ip": "127.0.0.1",
            **config,
        }
        if password:
            self._config |= {"requirepass": password, "primaryauth": password}

    def close(self) -> None:
        """Kill all processes and delete what they stored."""
        for node in self.nodes:
            node.kill()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Where a client connects to: the first three nodes."""
        login = f":{self._password}@" if self._password else ""
        return f"redis+cluster://{login}{','.join(node.address for node in self.nodes[:3])}"

    # Which node serves what

    @staticmethod
    def slot_of(key: str) -> int:
        """Return the slot of a key."""
        return slot_of(key)

    def master_of(self, key: str | int) -> ValkeyNode:
        """The node that the nodes say serves a key, or a slot; a dead or frozen one, too."""
        slot = slot_of(key) if isinstance(key, str) else key

        def most_named() -> ValkeyNode | None:
            ports = Counter(port_at(slots, slot) for slots in self._views())
            return self._at(ports.most_common(1)[0][0]) if ports else None

        return wait_for(most_named, LIMIT_SECONDS)

    @property
    def masters(self) -> list[ValkeyNode]:
        """The nodes that the most nodes say serve slots."""
        ports = {port for _, _, port in self._view()}
        return [node for node in self.nodes if node.port in ports]

    def replicas_of(self, master: ValkeyNode) -> list[ValkeyNode]:
        """The nodes that say they follow this one, and can be asked."""
        return [node for node in self._able() if master_port(node) == master.port]

    def tag_of(self, node: ValkeyNode) -> str:
        """Make a hash tag, without braces, of a slot that a node serves."""
        slots = self._view()
        tags = (f"tag-{number}" for number in range(100_000))
        return next(tag for tag in tags if port_at(slots, slot_of(tag)) == node.port)

    # Between tests

    def heal(self) -> None:
        """Start what is dead and thaw what is frozen, and wait until all is healthy."""
        for node in self.nodes:
            node.revive()
        self.wait_until_healthy()

    def flush(self) -> None:
        """FLUSHALL on every node that serves slots."""
        for node in self.masters:
            node.ask("FLUSHALL", "SYNC")

    # Failover

    def wait_for_failover(self, slot: int) -> ValkeyNode:
        """Return the node once all that can be asked say it serves the slot, itself included."""

        def serving() -> ValkeyNode | None:
            ports = {port_at(slots, slot) for slots in self._views()}
            node = self._at(ports.pop()) if len(ports) == 1 else None
            return node if node is not None and serves(node, slot) else None

        return wait_for(serving, LIMIT_SECONDS)

    def hand_over(self, replica: ValkeyNode) -> ValkeyNode:
        """Let a replica take its master's slots over, with nothing lost, and return it."""
        replica.ask("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.role() == "master", LIMIT_SECONDS)
        self.wait_until_healthy()
        return replica

    def wait_until_healthy(self) -> None:
        """Wait until all nodes agree on all slots and nodes, and all replicas are in sync.

        All processes have to run.
        """
        wait_until(lambda: holds(self._is_healthy), LIMIT_SECONDS)

    # Moving slots

    def begin_move(self, slot: int, to: ValkeyNode) -> SlotMove:
        """Open a slot for moving it the old way; the keys are still where they were."""
        return SlotMove(slot, self.master_of(slot), to, self.nodes, self._password)

    def move_slot(self, slot: int, to: ValkeyNode) -> None:
        """Move a slot the old way, with its keys, and wait until all nodes know."""
        move = self.begin_move(slot, to)
        move.move_keys()
        move.finish()
        self._wait_until_known(range(slot, slot + 1), to)

    def can_migrate_slots(self) -> bool:
        """Tell whether this server has CLUSTER MIGRATESLOTS."""
        return bool(self.nodes[0].ask("COMMAND", "INFO", "cluster|migrateslots")[0])

    def migrate_slots(self, first: int, last: int, to: ValkeyNode) -> None:
        """Move slots of one master at once, the new way, and wait until all nodes know."""
        source = self.master_of(first)
        target = str(to.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target)
        self._wait_until_known(range(first, last + 1), to)

    # Nodes come and go

    def add_master(self) -> ValkeyNode:
        """Add a node without slots, and wait until all know it."""
        node = self._add()
        known = next(it for it in self.nodes if it.is_able)
        known.ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.wait_until_healthy()
        return node

    def add_replica(self, master: ValkeyNode) -> ValkeyNode:
        """Add a node that follows a master, and wait until it is in sync."""
        node = self.add_master()
        node.ask("CLUSTER", "REPLICATE", str(master.ask("CLUSTER", "MYID")))
        self.wait_until_healthy()
        return node

    def remove(self, node: ValkeyNode) -> None:
        """Kill a node and let all others forget it; it serves no slot and runs."""
        if node in self.masters:
            raise ValueError(f"{node} serves slots")
        name = str(node.ask("CLUSTER", "MYID"))
        node.kill()
        self.nodes.remove(node)
        for other in self._able():
            other.ask("CLUSTER", "FORGET", name)
        self.wait_until_healthy()

    # Inside

    def start(self) -> None:
        """Start all servers; return when they are healthy."""
        self._directory = tempfile.TemporaryDirectory(prefix="rtaa-cluster-")
        masters = [self._add() for _ in range(self._first_masters)]
        replicas = [self._add() for _ in range(self._first_replicas)]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(masters):
            first, after = (SLOTS * n // len(masters) for n in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        for number, node in enumerate(replicas):
            name = str(masters[number % len(masters)].ask("CLUSTER", "MYID"))
            wait_until(partial(_replicates, node, name), LIMIT_SECONDS)
        self.wait_until_healthy()

    def _add(self) -> ValkeyNode:
        number = sum(1 for _ in Path(self._directory.name).iterdir())
        node = ValkeyNode(Path(self._directory.name) / f"node-{number}", self._config)
        self.nodes.append(node)
        node.start()
        return node

    def _able(self) -> list[ValkeyNode]:
        return [node for node in self.nodes if node.is_able]

    def _at(self, port: int | None) -> ValkeyNode | None:
        return next((node for node in self.nodes if node.port == port), None)

    def _views(self) -> list[Slots]:
        """Return what each node says that can be asked."""
        return [slots for node in self._able() if (slots := slots_of(node))]

    def _view(self) -> Slots:
        """Return what the most of them say."""
        return wait_for(
            lambda: next((slots for slots, _ in Counter(self._views()).most_common(1)), None),
            LIMIT_SECONDS,
        )

    def _wait_until_known(self, slots: range, to: ValkeyNode) -> None:
        def is_known() -> bool:
            views = self._views()
            return len(views) == len(self._able()) and all(
                port_at(view, slot) == to.port for view in views for slot in slots
            )

        wait_until(is_known, LIMIT_SECONDS)

    def _is_healthy(self) -> bool:
        views = self._views()
        return (
            len(views) == len(self.nodes)
            and len(set(views)) == 1
            and all(self._is_well(node) for node in self.nodes)
        )

    def _is_well(self, node: ValkeyNode) -> bool:
        lines = [line.split() for line in str(node.ask("CLUSTER", "NODES")).splitlines()]
        state = dict(
            line.split(":") for line in str(node.ask("CLUSTER", "INFO")).splitlines() if line
        )
        it = node.info("replication")
        return (
            len(lines) == len(self.nodes)
            and all(line[7] == "connected" for line in lines)
            and all(AWAY.isdisjoint(line[2].split(",")) for line in lines)
            and (state["cluster_state"], state["cluster_slots_ok"]) == ("ok", str(SLOTS))
            and it.get("master_link_status", "up") == "up"
            and all("state=online" in text for name, text in it.items() if _names_a_replica(name))
        )


def _replicates(node: ValkeyNode, master_id: str) -> bool:
    """Have a node follow a master; refused until it knows it."""
    return holds(lambda: node.ask("CLUSTER", "REPLICATE", master_id) == "OK")


def _names_a_replica(field: str) -> bool:
    return field.startswith("slave") and field[5:].isdigit()
