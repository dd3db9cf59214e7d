"""The soak in short: resuming senders, a broker to which something happens, and a judge.

`make soak` is the long one. A seed that fails here fails there: SOAK_SEED=… repeats it.
"""

from pathlib import Path

import pytest
from short_soak import SEED, told
from soak_plan import Fault, Plan
from soak_run import soak
from soak_server import ServerSoak

pytestmark = pytest.mark.long(50)

FRAMES = 60_000


@pytest.mark.parametrize("fsync", [pytest.param("everysec", id=f"everysec, seed {SEED}")])
def test_nothing_acknowledged_is_lost_twice_or_out_of_order_whatever_happens_to_the_broker(
    tmp_path: Path, fsync: str
) -> None:
    plan = Plan(seed=SEED, frames=FRAMES, kills=6, fsync=fsync)
    outcome = soak(plan, ServerSoak, tmp_path / "service.log")
    assert outcome.judged >= FRAMES or outcome.defects, told(outcome)
    assert "6 kills" in outcome.broker, told(outcome)
    assert ServerSoak.youngers(plan) == 2
    assert outcome.is_clean, told(outcome)


def test_nothing_acknowledged_is_lost_or_stored_twice_however_often_the_service_is_killed(
    tmp_path: Path,
) -> None:
    plan = Plan(seed=SEED, frames=10_000, fsync="always", service_kills=8)
    outcome = soak(plan, ServerSoak, tmp_path / "service.log")
    assert outcome.faults[Fault.SERVICE_KILLED] == plan.service_kills, told(outcome)
    assert outcome.is_clean, told(outcome)
