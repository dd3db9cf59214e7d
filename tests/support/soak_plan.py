"""What goes wrong when in a soak: drawn from the seed before it begins."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

BEFORE_REWIND_IS_SHORT = (1.0, 1.6)
"""How many seconds a broker forgets; the file may lag by two more. A process keeps five."""


class Fault(StrEnum):
    """What is done to the broker, to the wire before it, to a sender or to the service."""

    KILLED = "killed"
    YOUNGER = "younger"
    FROZEN = "frozen"
    RESET = "reset"
    SWALLOWED = "swallowed"
    SENDER_CUT = "sender cut"
    SERVICE_KILLED = "service killed"


@dataclass(frozen=True, order=True)
class Planned:
    """A fault, due when so many frames are confirmed; `sender` is whom it hits."""

    at_frame: int
    fault: Fault
    seconds: float = 0.0
    sender: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One soak. The same plan draws the same calls and the same faults at the same frames."""

    seed: int
    frames: int
    kills: int
    fsync: str
    senders: int = 8
    service_kills: int = 0

    @property
    def youngers(self) -> int:
        """How many of the kills forget something; with `always` a broker must not."""
        return -(-self.kills // 3) if self.fsync == "everysec" else 0

    def faults(self) -> list[Planned]:
        """Draw all faults, kills spread over the whole of it; without kills the broker is well."""
        rng = Random(f"{self.seed} faults")  # noqa: S311
        kills = [Fault.YOUNGER] * self.youngers
        kills += [Fault.KILLED] * (self.kills - len(kills))
        rng.shuffle(kills)
        drawn = [
            Planned(at, fault, rng.uniform(*BEFORE_REWIND_IS_SHORT))
            for at, fault in zip(self._moments(rng, self.kills), kills, strict=True)
        ]
        drawn += [
            Planned(at, Fault.FROZEN, rng.uniform(0.2, 2.5))
            for at in self._moments(rng, -(-self.kills // 5))
        ]
        drawn += [Planned(at, Fault.RESET) for at in self._moments(rng, self.kills)]
        drawn += [
            Planned(at, Fault.SWALLOWED, self._swallowing(rng))
            for at in self._moments(rng, -(-self.kills // 2))
        ]
        drawn += [
            Planned(at, Fault.SENDER_CUT, sender=rng.randrange(self.senders))
            for at in self._moments(rng, self.frames // 5000 + 1)
        ]
        drawn += [
            Planned(at, Fault.SERVICE_KILLED) for at in self._moments(rng, self.service_kills)
        ]
        return sorted(drawn)

    def calls(self, sender: int) -> Iterable[tuple[int, list[int], bool]]:
        """Draw the calls of a sender, without end: number, frames of each run, whether binary."""
        rng = Random(f"{self.seed} sender {sender}")  # noqa: S311
        number = 0
        while True:
            runs = [rng.randint(200, 2000) for _ in range(rng.choice((1, 1, 2, 3)))]
            yield number, runs, rng.random() < 0.5
            number += 1

    def _swallowing(self, rng: Random) -> float:
        """Mostly it is mended before the service gives the answer up, in a long soak not always."""
        return 7.0 if rng.random() < self.kills / 500 else rng.uniform(0.05, 0.5)

    def _moments(self, rng: Random, count: int) -> list[int]:
        """One moment in each of `count` equal parts; none so late that no audio would follow."""
        part = 0.95 * self.frames / max(1, count)
        return [round((index + rng.random()) * part) for index in range(count)]
