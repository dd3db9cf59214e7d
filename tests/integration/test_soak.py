"""The soak in short: resuming senders, a broker to which something happens, and a judge.

`make soak` is the long one. A seed that fails here fails there: SOAK_SEED=… repeats it.
"""

import os
from pathlib import Path

import pytest
from nats_client import needs_nats_server
from soak_brokers import SOAK_BROKERS
from soak_jetstream import JetStreamFault, JetStreamSoak
from soak_plan import Fault, Plan
from soak_run import Outcome, soak
from soak_server import ServerSoak

pytestmark = pytest.mark.long

SEED = int(os.environ.get("SOAK_SEED", "20261122"))
FRAMES = 100_000
FRAME_SECONDS = 0.003


def told(outcome: Outcome) -> str:
    return f"seed {SEED}\n{outcome.line()}\n{outcome.details()}"


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
    plan = Plan(seed=SEED, frames=16_000, fsync="always", service_kills=8)
    outcome = soak(plan, ServerSoak, tmp_path / "service.log")
    assert outcome.faults[Fault.SERVICE_KILLED] == plan.service_kills, told(outcome)
    assert outcome.is_clean, told(outcome)


@pytest.mark.parametrize(
    ("kind", "failovers", "moves", "confirm"),
    [
        pytest.param("sentinel", 3, 0, "memory", id=f"sentinel, seed {SEED}"),
        pytest.param("cluster", 3, 3, "memory", id=f"cluster, seed {SEED}"),
    ],
)
def test_nothing_acknowledged_is_lost_twice_or_out_of_order_whichever_server_takes_over(
    tmp_path: Path, kind: str, failovers: int, moves: int, confirm: str
) -> None:
    plan = Plan(
        seed=SEED,
        frames=10_000,
        failovers=failovers,
        moves=moves,
        confirm=confirm,
        pace=FRAME_SECONDS,
    )
    outcome = soak(plan, SOAK_BROKERS[kind], tmp_path / "service.log")
    assert f"{failovers} failovers" in outcome.broker, told(outcome)
    assert outcome.judged >= plan.frames or outcome.defects, told(outcome)
    assert outcome.is_clean, told(outcome)


@needs_nats_server
@pytest.mark.parametrize("failovers", [pytest.param(2, id=f"jetstream, seed {SEED}")])
def test_nothing_acknowledged_is_lost_twice_or_out_of_order_whichever_server_leads_the_stream(
    tmp_path: Path, failovers: int
) -> None:
    plan = Plan(
        seed=SEED, frames=6_000, failovers=failovers, fsync="", senders=4, pace=FRAME_SECONDS
    )
    outcome = soak(plan, JetStreamSoak, tmp_path / "service.log")
    for fault in (JetStreamFault.KILLED, JetStreamFault.STEPPED_DOWN):
        assert f"{fault} 1" in outcome.broker, told(outcome)
    assert f"{failovers} failovers" in outcome.broker, told(outcome)
    assert outcome.judged >= plan.frames or outcome.defects, told(outcome)
    assert outcome.is_clean, told(outcome)
