"""A soak of a primary under Sentinels: it is killed, frozen and replaced, and comes back too early.

A primary that was replaced believes for a while longer that it is the primary: nothing tells it
before the Sentinels do.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import ClassVar, Self

from history import SentStream
from replication import kill_lagging
from soak_janitor import SETTLED_SECONDS
from soak_plan import Plan, Planned
from soak_reader import RedisReader, redis_environment
from valkey_node import ValkeyNode
from valkey_sentinel import SentinelGroup
from waiting import wait_until

LIMIT_SECONDS = 60.0

BRIEFLY = (0.1, 0.6)
"""Below the second after which a primary is called down."""

LAG = (0.3, 1.0)
"""How far a replica lags behind. A process keeps five seconds; the failover takes three."""

STALE = (0.0, 3.0)
"""How long a primary that was replaced and is back is left alone."""

STALE_EARLY = (6.0, 7.0)
"""And one that was back before the switch: a service that does not notice the switch by itself goes
on with it for longer than a process keeps what was confirmed."""


class SentinelFault(StrEnum):
    """What is done to the group; all but the last three end with another primary."""

    KILLED = "killed"
    KILLED_AND_BACK_EARLY = "killed and back before the switch"
    KILLED_WITH_A_SENTINEL = "killed with a Sentinel"
    LAGGED = "killed while its replicas lag"
    FROZEN = "frozen"
    FROZEN_AND_BACK_EARLY = "frozen and back before the switch"
    HANDED_OVER = "handed over by command"
    FROZEN_BRIEFLY = "frozen briefly"
    KILLED_BRIEFLY = "killed and started at once"
    SENTINEL_AWAY = "a Sentinel killed"


FAILOVERS = (
    SentinelFault.LAGGED,
    SentinelFault.FROZEN_AND_BACK_EARLY,
    SentinelFault.HANDED_OVER,
    SentinelFault.KILLED,
    SentinelFault.KILLED_AND_BACK_EARLY,
    SentinelFault.FROZEN,
    SentinelFault.KILLED_WITH_A_SENTINEL,
)
EARLY = (SentinelFault.KILLED_AND_BACK_EARLY, SentinelFault.FROZEN_AND_BACK_EARLY)
OTHERS = (
    SentinelFault.FROZEN_BRIEFLY,
    SentinelFault.KILLED_BRIEFLY,
    SentinelFault.SENTINEL_AWAY,
)


class SentinelSoak:
    """A primary, two replicas and three Sentinels. See `SoakBroker`."""

    rest_seconds: ClassVar[float] = SETTLED_SECONDS
    frames_between: ClassVar[int] = 2_000

    def __init__(self, plan: Plan) -> None:
        self.faults: Counter[StrEnum] = Counter()
        self.failovers = 0
        self.lost_bytes = 0
        self._plan = plan
        self._group = SentinelGroup(appendfsync=plan.fsync)

    def __enter__(self) -> Self:
        self._group.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._group.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Where the Sentinels are."""
        return redis_environment(self._group.url, self._plan)

    @staticmethod
    def draw(plan: Plan, rng: Random) -> list[Planned]:
        """Draw as many failovers as planned, each kind as often, and a third as many others."""
        return [
            Planned(at, fault, rng.random(), whom=rng.randrange(1_000))
            for kinds, count in ((FAILOVERS, plan.failovers), (OTHERS, -(-plan.failovers // 3)))
            for at, fault in zip(plan.moments(rng, count), in_turn(kinds, count, rng), strict=True)
        ]

    def do(self, planned: Planned, live: Sequence[SentStream]) -> None:  # noqa: ARG002
        """Break it, wait for what comes of it, and heal it."""
        old = self._group.master
        sentinel = self._group.sentinels[planned.whom % len(self._group.sentinels)]
        self._break(planned, old, sentinel)
        if planned.fault in FAILOVERS:
            self._group.wait_for_failover(old)
            self.failovers += 1
            old.revive()
            time.sleep(within(STALE_EARLY if planned.fault in EARLY else STALE, planned.seconds))
        self._group.heal()
        self.faults[planned.fault] += 1

    def _break(self, planned: Planned, old: ValkeyNode, sentinel: ValkeyNode) -> None:
        match planned.fault:
            case SentinelFault.KILLED:
                old.kill()
            case SentinelFault.KILLED_AND_BACK_EARLY:
                old.kill()
                self._wait_until_promoted(old)
                old.start()
            case SentinelFault.KILLED_WITH_A_SENTINEL:
                sentinel.kill()
                old.kill()
            case SentinelFault.LAGGED:
                lag = within(LAG, planned.seconds)
                self.lost_bytes += kill_lagging(old, self._group.replicas, lag)
            case SentinelFault.FROZEN:
                old.freeze()
            case SentinelFault.FROZEN_AND_BACK_EARLY:
                old.freeze()
                self._wait_until_promoted(old)
                old.thaw()
            case SentinelFault.HANDED_OVER:
                self._group.fail_over("command")
            case _:
                self._disturb(planned, old, sentinel)

    def _disturb(self, planned: Planned, old: ValkeyNode, sentinel: ValkeyNode) -> None:
        """Break what leads to no failover."""
        match planned.fault:
            case SentinelFault.FROZEN_BRIEFLY:
                old.freeze()
                time.sleep(within(BRIEFLY, planned.seconds))
            case SentinelFault.KILLED_BRIEFLY:
                old.kill()
                old.start()
            case SentinelFault.SENTINEL_AWAY:
                sentinel.kill()
                time.sleep(within(STALE, planned.seconds))
            case _:
                raise ValueError(planned)

    def _wait_until_promoted(self, old: ValkeyNode) -> None:
        """Return once a replica takes writes; the Sentinels still name the old primary then."""
        replicas = [node for node in self._group.nodes if node is not old]
        wait_until(lambda: any(it.role() == "master" for it in replicas), LIMIT_SECONDS)

    def reader(self) -> RedisReader:
        """Read from the primary that the Sentinels name."""
        return RedisReader(lambda _: self._group.master.port)

    def told(self) -> str:
        """Tell of failovers."""
        kinds = ", ".join(f"{fault} {count}" for fault, count in sorted(self.faults.items()))
        return f"{self.failovers} failovers ({kinds}; {self.lost_bytes >> 10} KiB lagging)"

    def missing(self) -> list[str]:
        """Tell whether there were as many failovers as planned."""
        planned = self._plan.failovers
        if planned and self.failovers >= planned:
            return []
        return [f"{self.failovers} failovers of {planned}"]


def in_turn(kinds: Sequence[StrEnum], count: int, rng: Random) -> list[StrEnum]:
    """Return so many of the kinds, each about as often, those that come first before others."""
    drawn = [kinds[number % len(kinds)] for number in range(count)]
    rng.shuffle(drawn)
    return drawn


def within(bounds: tuple[float, float], part: float) -> float:
    """Return what lies between the bounds, for a part between 0 and 1."""
    low, high = bounds
    return low + part * (high - low)
