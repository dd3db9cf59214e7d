"""A soak of a cluster: primaries are killed, frozen and handed over, slots move under calls.

The slots that move are those of streams that are being sent, and of the keys that all share.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import ClassVar, Self

from cluster_views import slot_of, slots_of
from history import SentStream
from replication import kill_lagging
from slot_move import SlotMove
from soak_janitor import SETTLED_SECONDS
from soak_plan import Plan, Planned
from soak_reader import RedisReader, redis_environment, stream_keys
from soak_sentinel import BRIEFLY, LAG, STALE, in_turn, within
from valkey_cluster import ValkeyCluster
from valkey_node import ValkeyNode
from waiting import wait_until

LIMIT_SECONDS = 60.0

SHARED = ("rtaa:interactions", "rtaa:open", "{writable}")
"""Keys that no stream has: the index, the heartbeats, and what a part is tried with."""

HALF_MOVED = (0.0, 1.0)
"""How long a slot is half moved: its streams take no entries meanwhile."""

AROUND = 50
"""How many slots beside one are moved with it."""

CONFIG = {"cluster-allow-replica-migration": "no"}
"""Each primary keeps its replica, so that it can be replaced."""


class ClusterFault(StrEnum):
    """What is done to the cluster."""

    KILLED = "killed"
    LAGGED = "killed while its replica lags"
    FROZEN = "frozen"
    FROZEN_AND_BACK_EARLY = "frozen and back as its replica takes over"
    HANDED_OVER = "handed over by command"
    SLOT_MOVED = "slot moved key by key"
    SLOT_MOVED_BACK = "slot moved key by key and back"
    SLOTS_MIGRATED = "slots migrated at once"
    PRIMARY_ADDED = "primary added, used and removed"
    FROZEN_BRIEFLY = "frozen briefly"
    KILLED_BRIEFLY = "killed and started at once"


FAILOVERS = (
    ClusterFault.LAGGED,
    ClusterFault.FROZEN_AND_BACK_EARLY,
    ClusterFault.HANDED_OVER,
    ClusterFault.KILLED,
    ClusterFault.FROZEN,
)
MOVES = (
    ClusterFault.SLOT_MOVED,
    ClusterFault.SLOTS_MIGRATED,
    ClusterFault.PRIMARY_ADDED,
    ClusterFault.SLOT_MOVED_BACK,
)
OTHERS = (ClusterFault.FROZEN_BRIEFLY, ClusterFault.KILLED_BRIEFLY)


class ClusterSoak:
    """Three primaries with a replica each. See `SoakBroker`."""

    rest_seconds: ClassVar[float] = SETTLED_SECONDS
    frames_between: ClassVar[int] = 2_000

    def __init__(self, plan: Plan) -> None:
        self.faults: Counter[StrEnum] = Counter()
        self.failovers = 0
        self.moves = 0
        self.lost_bytes = 0
        self._plan = plan
        self._cluster = ValkeyCluster(
            masters=3,
            replicas=3,
            full_coverage="yes",  # as it is by default
            **{**CONFIG, "appendfsync": plan.fsync},  # type: ignore[arg-type]
        )

    def __enter__(self) -> Self:
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Where some nodes are."""
        return redis_environment(self._cluster.url, self._plan)

    @staticmethod
    def draw(plan: Plan, rng: Random) -> list[Planned]:
        """Draw as many failovers and moves as planned, each kind as often, and some others."""
        planned = (
            (FAILOVERS, plan.failovers),
            (MOVES, plan.moves),
            (OTHERS, -(-plan.failovers // 5)),
        )
        return [
            Planned(at, fault, rng.random(), whom=rng.randrange(1_000))
            for kinds, count in planned
            for at, fault in zip(plan.moments(rng, count), in_turn(kinds, count, rng), strict=True)
        ]

    def do(self, planned: Planned, live: Sequence[SentStream]) -> None:
        """Break it or move something, wait for what comes of it, and heal it."""
        if planned.fault in MOVES:
            keys = [stream_keys(stream)[0] for stream in live]
            self._move(planned, [slot_of(key) for key in (*SHARED, *keys)])
            self.moves += 1
        else:
            masters = self._cluster.masters
            old = masters[planned.whom % len(masters)]
            slot = slot_of(self._cluster.tag_of(old))
            self._break(planned, old)
            if planned.fault in FAILOVERS:
                wait_until(lambda: self._cluster.wait_for_failover(slot) is not old, LIMIT_SECONDS)
                self.failovers += 1
                time.sleep(within(STALE, planned.seconds))
        self._cluster.heal()
        self.faults[planned.fault] += 1

    def _break(self, planned: Planned, old: ValkeyNode) -> None:
        (replica,) = self._cluster.replicas_of(old)
        match planned.fault:
            case ClusterFault.KILLED:
                old.kill()
            case ClusterFault.LAGGED:
                lag = within(LAG, planned.seconds)
                self.lost_bytes += kill_lagging(old, [replica], lag)
            case ClusterFault.FROZEN:
                old.freeze()
            case ClusterFault.FROZEN_AND_BACK_EARLY:
                old.freeze()
                wait_until(lambda: replica.role() == "master", LIMIT_SECONDS)
                old.thaw()
            case ClusterFault.HANDED_OVER:
                self._cluster.hand_over(replica)
            case ClusterFault.FROZEN_BRIEFLY:
                old.freeze()
                time.sleep(within(BRIEFLY, planned.seconds))
            case ClusterFault.KILLED_BRIEFLY:
                old.kill()
                old.start()
            case _:
                raise ValueError(planned)

    def _move(self, planned: Planned, used: Sequence[int]) -> None:
        slot = used[planned.whom % len(used)]
        source = self._cluster.master_of(slot)
        others = [node for node in self._cluster.masters if node is not source]
        target = others[planned.whom % len(others)]
        match planned.fault:
            case ClusterFault.SLOT_MOVED:
                self._half_move(planned, slot, target).finish()
            case ClusterFault.SLOT_MOVED_BACK:
                self._half_move(planned, slot, target).finish()
                self._half_move(planned, slot, source).finish()
            case ClusterFault.SLOTS_MIGRATED:
                (first, last) = next(
                    (first, last) for first, last, port in slots_of(source) if first <= slot <= last
                )
                # With its first slot a primary changes its rank among the others.
                begin = first if planned.whom % 2 else max(first, slot - AROUND)
                self._cluster.migrate_slots(begin, min(last, slot + AROUND), target)
            case ClusterFault.PRIMARY_ADDED:
                self._use_another(planned, used)
            case _:
                raise ValueError(planned)

    def _half_move(self, planned: Planned, slot: int, target: ValkeyNode) -> SlotMove:
        move = self._cluster.begin_move(slot, target)
        keys = move.keys(move.source)
        if keys:
            move.move_keys(keys[0])
        time.sleep(within(HALF_MOVED, planned.seconds))
        return move

    def _use_another(self, planned: Planned, used: Sequence[int]) -> None:
        """Give a new primary half of the slots, and take them back."""
        added = self._cluster.add_master()
        if self._plan.confirm == "replica":
            follower = self._cluster.add_replica(added)
        slots = sorted(set(used[::2]))
        before = {slot: self._cluster.master_of(slot) for slot in slots}
        for slot in slots:
            self._cluster.move_slot(slot, added)
        time.sleep(within(STALE, planned.seconds))
        for slot, node in before.items():
            self._cluster.move_slot(slot, node)
        if self._plan.confirm == "replica":
            self._cluster.remove(follower)
        self._cluster.remove(added)

    def reader(self) -> RedisReader:
        """Read from the primary that has a key's slot."""
        return RedisReader(lambda key: self._cluster.master_of(key).port)

    def told(self) -> str:
        """Tell of failovers and moves."""
        kinds = ", ".join(f"{fault} {count}" for fault, count in sorted(self.faults.items()))
        return (
            f"{self.failovers} failovers and {self.moves} moves of slots "
            f"({kinds}; {self.lost_bytes >> 10} KiB lagging)"
        )

    def missing(self) -> list[str]:
        """Tell whether there were as many failovers and moves as planned."""
        plan, found = self._plan, []
        if not plan.failovers or self.failovers < plan.failovers:
            found.append(f"{self.failovers} failovers of {plan.failovers}")
        if self.moves < plan.moves:
            found.append(f"{self.moves} moves of {plan.moves}")
        return found
