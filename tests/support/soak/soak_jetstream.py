"""A soak of JetStream with three replicas: leaders are killed, frozen, ended and step down.

A fault is over when both streams have a leader and two replicas that have all it has.
"""

import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import ClassVar, Self

from freezing import frozen
from history import SentStream
from nats_cluster import NatsCluster
from soak_janitor import SETTLED_SECONDS
from soak_nats_reader import AUDIO, NatsReader
from soak_plan import Plan, Planned
from soak_sentinel import STALE, in_turn, within
from waiting import wait_until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats

OPEN = "rtaa-open"

LIMIT_SECONDS = 60.0

FROZEN_SECONDS = (2.0, 8.0)
"""Followers elect another leader after four to nine seconds, and a service gives a write up after
four and a half: one that is thawed in time and still leads stores what was given up."""


class JetStreamFault(StrEnum):
    """What is done to the cluster; all but the last three end with another leader."""

    KILLED = "leader killed"
    STEPPED_DOWN = "leader stepped down"
    FROZEN = "leader frozen until another leads"
    ENDED = "leader ended by SIGTERM"
    ALL_KILLED = "all three killed"
    FROZEN_AND_BACK = "leader frozen and back, replaced or not"
    KILLED_BRIEFLY = "leader killed and started at once"


FAILOVERS = (
    JetStreamFault.KILLED,
    JetStreamFault.STEPPED_DOWN,
    JetStreamFault.FROZEN,
    JetStreamFault.ENDED,
)
OTHERS = (
    JetStreamFault.ALL_KILLED,
    JetStreamFault.FROZEN_AND_BACK,
    JetStreamFault.KILLED_BRIEFLY,
)


class JetStreamSoak:
    """Three servers. See `SoakBroker`."""

    rest_seconds: ClassVar[float] = SETTLED_SECONDS
    frames_between: ClassVar[int] = 4_000

    def __init__(self, plan: Plan) -> None:
        self.faults: Counter[StrEnum] = Counter()
        self.failovers = 0
        self._plan = plan
        self._cluster = NatsCluster()

    def __enter__(self) -> Self:
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Where the servers are."""
        return {"PUBSUB_ADAPTER": "nats_jetstream", "NATS_URL": self._cluster.url}

    @staticmethod
    def draw(plan: Plan, rng: Random) -> list[Planned]:
        """Draw as many failovers as planned, each kind as often, and a third as many others."""
        return [
            Planned(at, fault, rng.random())
            for kinds, count in ((FAILOVERS, plan.failovers), (OTHERS, plan.failovers // 3))
            for at, fault in zip(plan.moments(rng, count), in_turn(kinds, count, rng), strict=True)
        ]

    def do(self, planned: Planned, live: Sequence[SentStream]) -> None:  # noqa: ARG002
        """Break it, wait for what comes of it, and heal it."""
        old = self._cluster.leader_of(AUDIO)
        self._break(planned, old)
        self.failovers += planned.fault in FAILOVERS
        self._cluster.start()
        wait_until(lambda: all(map(self._cluster.is_in_step, (AUDIO, OPEN))), LIMIT_SECONDS)
        self.faults[planned.fault] += 1

    def _break(self, planned: Planned, old: EmbeddedNats) -> None:
        match planned.fault:
            case JetStreamFault.KILLED:
                old.stop(signal.SIGKILL)
                self._wait_for_another_than(old)
            case JetStreamFault.ENDED:
                old.stop(signal.SIGTERM)
                self._wait_for_another_than(old)
            case JetStreamFault.STEPPED_DOWN:
                told = self._cluster.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{AUDIO}")
                assert told.get("success"), told
                self._wait_for_another_than(old)
            case JetStreamFault.FROZEN:
                with frozen(old.pid):
                    self._wait_for_another_than(old)
                    time.sleep(within(STALE, planned.seconds))
            case JetStreamFault.FROZEN_AND_BACK:
                with frozen(old.pid):
                    time.sleep(within(FROZEN_SECONDS, planned.seconds))
            case JetStreamFault.KILLED_BRIEFLY:
                old.stop(signal.SIGKILL)
            case JetStreamFault.ALL_KILLED:
                self._cluster.stop_all(signal.SIGKILL)
            case _:
                raise ValueError(planned)

    def _wait_for_another_than(self, old: EmbeddedNats) -> None:
        wait_until(lambda: self._cluster.leader_of(AUDIO) is not old, LIMIT_SECONDS)

    def reader(self) -> NatsReader:
        """Read by way of whichever server accepts the connection."""
        return NatsReader([server.url for server in self._cluster.servers])

    def told(self) -> str:
        """Tell of failovers."""
        kinds = ", ".join(f"{fault} {count}" for fault, count in sorted(self.faults.items()))
        return f"{self.failovers} failovers ({kinds})"

    def missing(self) -> list[str]:
        """Tell whether there were as many failovers as planned."""
        planned = self._plan.failovers
        if planned and self.failovers >= planned:
            return []
        return [f"{self.failovers} failovers of {planned}"]
