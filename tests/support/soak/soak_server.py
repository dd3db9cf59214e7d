"""A soak of one server: it is killed, rolled back and frozen, and the wire before it breaks."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import ClassVar, Self

from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from history import SentStream
from soak_plan import Plan, Planned
from soak_reader import RedisReader, redis_environment

BEFORE_REWIND_IS_SHORT = (1.0, 1.6)
"""How many seconds a broker is rolled back; the file may lag by two more. A process keeps five."""


class ServerFault(StrEnum):
    """What is done to the server, and to the wire before it."""

    KILLED = "killed"
    YOUNGER = "younger"
    FROZEN = "frozen"
    RESET = "reset"
    SWALLOWED = "swallowed"


class ServerSoak:
    """One server behind a proxy. See `SoakBroker`."""

    rest_seconds: ClassVar[float] = 0.0
    frames_between: ClassVar[int] = 0

    def __init__(self, plan: Plan) -> None:
        self.faults: Counter[StrEnum] = Counter()
        self.lost_bytes = 0
        self._plan = plan
        self._lab = BrokerLab(appendfsync=plan.fsync)

    def __enter__(self) -> Self:
        self._lab.__enter__()
        self._proxy = ChaosProxy(self._lab.port)
        self._proxy.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._proxy.close()
        self._lab.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Where the proxy is."""
        return redis_environment(f"redis://{self._proxy.host}:{self._proxy.port}/0", self._plan)

    @staticmethod
    def youngers(plan: Plan) -> int:
        """How many of the kills roll it back; with `always` nothing may be lost."""
        return -(-plan.kills // 3) if plan.fsync == "everysec" else 0

    @staticmethod
    def draw(plan: Plan, rng: Random) -> list[Planned]:
        """Draw all faults, kills spread over the whole of it; without kills the broker is well."""
        youngers = ServerSoak.youngers(plan)
        kills = [ServerFault.YOUNGER] * youngers
        kills += [ServerFault.KILLED] * (plan.kills - youngers)
        rng.shuffle(kills)
        drawn = [
            Planned(at, fault, rng.uniform(*BEFORE_REWIND_IS_SHORT))
            for at, fault in zip(plan.moments(rng, plan.kills), kills, strict=True)
        ]
        drawn += [
            Planned(at, ServerFault.FROZEN, rng.uniform(0.2, 2.5))
            for at in plan.moments(rng, -(-plan.kills // 5))
        ]
        drawn += [Planned(at, ServerFault.RESET) for at in plan.moments(rng, plan.kills)]
        drawn += [
            Planned(at, ServerFault.SWALLOWED, _swallowing(plan, rng))
            for at in plan.moments(rng, -(-plan.kills // 2))
        ]
        return drawn

    def do(self, planned: Planned, live: Sequence[SentStream]) -> None:  # noqa: ARG002
        """Break it and mend it."""
        match planned.fault:
            case ServerFault.KILLED:
                self._lab.kill_and_restart()
            case ServerFault.YOUNGER:
                lost = self._lab.come_back_younger(planned.seconds)
                self.lost_bytes += lost
                if not lost:
                    return
            case ServerFault.FROZEN:
                with self._lab.frozen():
                    time.sleep(planned.seconds)
            case ServerFault.RESET:
                self._proxy.reset()
            case ServerFault.SWALLOWED:
                self._proxy.swallow_replies(new=False)
                time.sleep(planned.seconds)
                self._proxy.heal()
        self.faults[planned.fault] += 1

    def reader(self) -> RedisReader:
        """Read from the server itself, past the proxy."""
        return RedisReader(lambda _: self._lab.port)

    def told(self) -> str:
        """Tell of kills and of what was lost."""
        kills = self.faults[ServerFault.KILLED] + self.faults[ServerFault.YOUNGER]
        return (
            f"{kills} kills, younger {self.faults[ServerFault.YOUNGER]} times "
            f"({self.lost_bytes >> 10} KiB)"
        )

    def missing(self) -> list[str]:
        """Tell whether it was rolled back as often as planned."""
        found, planned = self.faults[ServerFault.YOUNGER], self.youngers(self._plan)
        return [f"younger {found} times of {planned}"] if found < planned else []


def _swallowing(plan: Plan, rng: Random) -> float:
    """Mostly it is mended before the service gives the answer up, in a long soak not always."""
    return 7.0 if rng.random() < plan.kills / 500 else rng.uniform(0.05, 0.5)
