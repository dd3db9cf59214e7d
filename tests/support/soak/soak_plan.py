"""What goes wrong when in a soak: drawn from the seed before it begins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """What is done beside the broker: to a sender or to the service."""

    SENDER_CUT = "sender cut"
    SERVICE_KILLED = "service killed"


@dataclass(frozen=True, order=True)
class Planned:
    """A fault, due when so many frames are confirmed; `whom` it hits is a number."""

    at_frame: int
    fault: StrEnum
    seconds: float = 0.0
    whom: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One soak. The same plan draws the same calls and the same faults at the same frames.

    `kills` are those of a single server, `failovers` those of a group, `moves` those of slots.
    `pace` is the time between two frames of a sender. `fsync` and `confirm` are those of Redis,
    told where there is an `fsync`.
    """

    seed: int
    frames: int
    kills: int = 0
    failovers: int = 0
    moves: int = 0
    fsync: str = "everysec"
    confirm: str = "memory"
    senders: int = 8
    pace: float = 0.0
    service_kills: int = 0

    def faults(self) -> list[Planned]:
        """Draw what is done beside the broker."""
        rng = Random(f"{self.seed} faults")  # noqa: S311
        cuts = [
            Planned(at, Fault.SENDER_CUT, whom=rng.randrange(self.senders))
            for at in self.moments(rng, self.frames // 5000 + 1)
        ]
        kills = [Planned(at, Fault.SERVICE_KILLED) for at in self.moments(rng, self.service_kills)]
        return sorted(cuts + kills)

    def broker_faults(self, draw: Callable[["Plan", Random], list[Planned]]) -> list[Planned]:
        """Draw what is done to the broker."""
        return sorted(draw(self, Random(f"{self.seed} broker")))  # noqa: S311

    def calls(self, sender: int) -> Iterable[tuple[int, list[int], bool]]:
        """Draw the calls of a sender, without end: number, frames of each run, whether binary."""
        rng = Random(f"{self.seed} sender {sender}")  # noqa: S311
        number = 0
        while True:
            runs = [rng.randint(200, 2000) for _ in range(rng.choice((1, 1, 2, 3)))]
            yield number, runs, rng.random() < 0.5
            number += 1

    def moments(self, rng: Random, count: int) -> list[int]:
        """One moment in each of `count` equal parts; none so late that no audio would follow."""
        part = 0.95 * self.frames / max(1, count)
        return [round((index + rng.random()) * part) for index in range(count)]
