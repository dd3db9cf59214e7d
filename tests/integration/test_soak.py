"""The soak in short: resuming senders, a broker that is killed and comes back younger, a judge.

`make soak` is the long one. A seed that fails here fails there: SOAK_SEED=… repeats it.
"""

import os
from pathlib import Path

import pytest
from soak_plan import Fault, Plan
from soak_run import soak

SEED = int(os.environ.get("SOAK_SEED", "20261122"))
FRAMES = 100_000


@pytest.mark.parametrize("fsync", [pytest.param("everysec", id=f"everysec, seed {SEED}")])
def test_nothing_acknowledged_is_lost_twice_or_out_of_order_whatever_happens_to_the_broker(
    tmp_path: Path, fsync: str
) -> None:
    plan = Plan(seed=SEED, frames=FRAMES, kills=6, fsync=fsync)
    outcome = soak(plan, tmp_path / "service.log")
    told = f"seed {SEED}\n{outcome.line()}\n{outcome.details()}"
    assert outcome.judged >= FRAMES or outcome.defects, told
    assert outcome.faults[Fault.KILLED] + outcome.faults[Fault.YOUNGER] == plan.kills, told
    assert outcome.faults[Fault.YOUNGER] == plan.youngers > 0, told
    assert outcome.is_clean, told


def test_nothing_acknowledged_is_lost_or_stored_twice_however_often_the_service_is_killed(
    tmp_path: Path,
) -> None:
    plan = Plan(seed=SEED, frames=16_000, kills=0, fsync="always", service_kills=8)
    outcome = soak(plan, tmp_path / "service.log")
    told = f"seed {SEED}\n{outcome.line()}\n{outcome.details()}"
    assert outcome.faults[Fault.SERVICE_KILLED] == plan.service_kills, told
    assert outcome.is_clean, told
