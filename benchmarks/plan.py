"""What is tried: the shape of a load, and the list of scenarios."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

NS_PER_MS = 1_000_000

_AT_24_KHZ = (960, 9_600)


class Mode(StrEnum):
    """How calls send."""

    SATURATE = "saturate"
    """As fast as TCP takes it."""

    PACED = "paced"
    """One frame each interval, the calls spread evenly over it."""

    IDLE = "idle"
    """Nothing but `start`."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """The broker is frozen so long after the load began, and for so long."""

    after_seconds: float
    seconds: float

    @property
    def begin_ns(self) -> int:
        """When it is frozen, after the load began."""
        return round(self.after_seconds * 1e9)

    @property
    def end_ns(self) -> int:
        """When it is thawed, after the load began."""
        return self.begin_ns + round(self.seconds * 1e9)


@dataclass(frozen=True, slots=True)
class Load:
    """`calls` calls of `frames` frames each, of `size` bytes of audio; the interval in ms."""

    mode: Mode
    dialect: str
    size: int
    calls: int
    frames: int
    interval_ms: int = 0
    freeze: Freeze | None = None

    @property
    def sample_rate_hz(self) -> int:
        """What the calls say they are: 24 kHz where that makes a frame 20 or 200 ms, else 8."""
        return 24_000 if self.size in _AT_24_KHZ else 8_000

    @property
    def total(self) -> int:
        """Frames of all calls."""
        return self.calls * self.frames

    @property
    def seconds(self) -> float:
        """How long the frames of a paced load take."""
        return self.frames * self.interval_ms / 1_000

    def due_ns(self, call: int, index: int) -> int:
        """When a frame of a paced load is due, after the load began."""
        return (index * self.calls + call) * self.interval_ms * NS_PER_MS // self.calls


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load and the programs that carry it, by name, ours first.

    `is_usual` is false for what runs only when it is named, `is_quick` for what `--quick` leaves
    out unless it is named.
    """

    load: Load
    programs: Sequence[str]
    is_usual: bool = True
    is_quick: bool = True

    @property
    def name(self) -> str:
        """What `--only` is matched with."""
        load = self.load
        if load.mode is Mode.IDLE:
            return f"idle {load.calls} calls"
        frozen = f", frozen {load.freeze.seconds:g} s" if load.freeze else ""
        if load.mode is Mode.PACED:
            pace = f"{load.calls} x {load.interval_ms} ms"
            return f"paced {load.dialect} {load.size} B {pace}{frozen}"
        return f"saturate {load.dialect} {load.size} B{frozen}"


OURS, FLOOR, OBVIOUS = "rtaa-ingest", "litestar drop", "fastapi obvious"
LINGER_MS = 40
LINGERING = f"linger {LINGER_MS} ms"
"""The service with `PUBLISH_LINGER_MS`."""

_ALL = (OURS, FLOOR, OBVIOUS)
_FLOORED = (OURS, FLOOR)
_ALONE = (OURS,)
_BOTH = (OURS, LINGERING)

_CALLS = 32
"""Connections of a saturated load: enough for the server never to wait for one of them."""

SCENARIOS: Sequence[Scenario] = (
    Scenario(Load(Mode.SATURATE, "json", 9_600, _CALLS, 800), _ALL),
    Scenario(Load(Mode.SATURATE, "json", 3_200, _CALLS, 800), _ALL, is_quick=False),
    Scenario(Load(Mode.SATURATE, "json", 320, _CALLS, 1_200), _ALL),
    Scenario(Load(Mode.SATURATE, "exotel", 320, _CALLS, 2_000), _FLOORED),
    Scenario(Load(Mode.SATURATE, "binary", 9_600, _CALLS, 1_000), _FLOORED),
    Scenario(Load(Mode.SATURATE, "binary", 320, _CALLS, 2_000), _FLOORED, is_quick=False),
    Scenario(Load(Mode.PACED, "json", 9_600, 2_000, 50, 200), _BOTH),
    Scenario(Load(Mode.PACED, "exotel", 320, 400, 500, 20), _BOTH),
    Scenario(Load(Mode.PACED, "exotel", 320, 200, 500, 20), _BOTH, is_usual=False),
    Scenario(Load(Mode.PACED, "json", 9_600, 200, 50, 200), (OURS, OBVIOUS), is_usual=False),
    Scenario(Load(Mode.IDLE, "json", 320, 1_000, 0), _ALONE),
    Scenario(
        Load(Mode.SATURATE, "json", 9_600, _CALLS, 4_000, freeze=Freeze(1.0, 4.0)),
        _ALONE,
        is_quick=False,
    ),
    Scenario(
        Load(Mode.PACED, "exotel", 960, 50, 2_000, 20, Freeze(5.0, 30.0)), _ALONE, is_quick=False
    ),
)


def quick(scenario: Scenario) -> Scenario:
    """Return the same with a quarter of the frames."""
    load = scenario.load
    return replace(scenario, load=replace(load, frames=load.frames // 4))
