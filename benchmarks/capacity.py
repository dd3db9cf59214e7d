"""How many calls at real pace one process carries: `make bench BENCH=--capacity`."""

from collections.abc import Callable

from benchmarks.machine import Cores
from benchmarks.plan import LINGER_MS, LINGERING, OURS, Load, Mode
from benchmarks.servers import PROGRAMS
from benchmarks.trial import Outcome, attempt

INTERVAL_MS, FRAME_BYTES = 20, 320
SECONDS = 10
STEP = 50
MOST = 1_600

LATE_MS = 20.0
"""The p99 that a load may reach, beyond what the program lingers."""


def capacity_of(name: str, cores: Cores, tell: Callable[[str], None]) -> str:
    """Find the most calls of 20 ms frames that a program carries, in steps of 50; describe it.

    `tell` is given each try.
    """
    limit_ms = LATE_MS + (LINGER_MS if name == LINGERING else 0)
    carried, too_many = 0, MOST + STEP
    last = "nothing was carried"
    while too_many - carried > STEP:
        calls = (carried + too_many) // 2 // STEP * STEP
        outcome = attempt(_load(calls), PROGRAMS[name], cores)
        is_carried = _is_carried(outcome, limit_ms)
        found = _described(calls, outcome)
        tell(f"{name}: {found}{'' if is_carried else '  too many'}")
        if is_carried:
            carried, last = calls, found
        else:
            too_many = calls
    return f"{name}: {last} (p99 at most {limit_ms:g} ms)"


def capacity(cores: Cores, tell: Callable[[str], None]) -> str:
    """Find what the service carries without a linger, and with it."""
    return "\n".join(capacity_of(name, cores, tell) for name in (OURS, LINGERING))


def _load(calls: int) -> Load:
    frames = SECONDS * 1_000 // INTERVAL_MS
    return Load(Mode.PACED, "exotel", FRAME_BYTES, calls, frames, INTERVAL_MS)


def _is_carried(outcome: Outcome, limit_ms: float) -> bool:
    latency = outcome.latency_ms
    return outcome.is_clean and latency is not None and latency.p99 <= limit_ms


def _described(calls: int, outcome: Outcome) -> str:
    latency = outcome.latency_ms
    p99 = "-" if latency is None else f"{latency.p99:.1f} ms"
    lost = "" if outcome.is_clean else ", not clean"
    return (
        f"{calls} calls, p99 {p99}, {outcome.cpu_us or 0:.1f} us/frame here, "
        f"{outcome.redis_us or 0:.1f} at the broker, core {outcome.server_percent or 0:.0f} %, "
        f"the others' core {outcome.others_percent or 0:.0f} %{lost}"
    )
