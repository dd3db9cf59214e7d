"""A slot on its way from one node of a cluster to another, the old way: key by key."""

from collections.abc import Sequence

from redis.exceptions import ResponseError
from valkey_node import ValkeyNode

MIGRATE_MS = 5_000
MANY = 1_000_000


class SlotMove:
    """MIGRATING at the source, IMPORTING at the target, until `finish` or `give_up`.

    Meanwhile the source answers for the keys that it still has, `ASK` where it has none of those in
    a command, `TRYAGAIN` where it has some of them.
    """

    def __init__(
        self,
        slot: int,
        source: ValkeyNode,
        target: ValkeyNode,
        nodes: Sequence[ValkeyNode],
        password: str | None = None,
    ) -> None:
        self.slot = slot
        self.source = source
        self.target = target
        self._nodes = nodes
        self._auth = ("AUTH", password) if password else ()
        self._source_id = str(source.ask("CLUSTER", "MYID"))
        self._target_id = str(target.ask("CLUSTER", "MYID"))
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self._source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self._target_id)

    def keys(self, node: ValkeyNode) -> list[str]:
        """Return the keys of the slot that a node has."""
        found: list[str] = node.ask("CLUSTER", "GETKEYSINSLOT", self.slot, MANY)
        return found

    def move_keys(self, *keys: str) -> None:
        """Move some keys, or all that are left."""
        self._migrate(self.source, self.target, keys or self.keys(self.source))

    def finish(self) -> None:
        """Move what is left, give the slot to the target and tell all nodes."""
        while left := self.keys(self.source):  # keys may be written meanwhile
            self._migrate(self.source, self.target, left)
        self._give_to(self._target_id, self.target, self.source)

    def give_up(self) -> None:
        """Move back what was moved; the slot stays with the source."""
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")
        self._migrate(self.target, self.source, self.keys(self.target))
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")

    def _migrate(self, source: ValkeyNode, target: ValkeyNode, keys: Sequence[str]) -> None:
        if keys:
            source.ask(
                *("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS),
                *(*self._auth, "KEYS", *keys),
            )

    def _give_to(self, name: str, *first: ValkeyNode) -> None:
        """Tell the new master first: it takes a higher epoch; others hear of it at the latest."""
        others = [node for node in self._nodes if node not in first and node.is_able]
        for node in (*first, *others):
            try:
                node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", name)
            except ResponseError:
                # Replicas take no slots, and a master is one once it hears that its last has gone.
                if node.role() == "master":
                    raise
