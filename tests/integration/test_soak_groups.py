"""The soak in short of groups of servers, of which another takes over."""

from pathlib import Path

import pytest
from nats_client import needs_nats_server
from short_soak import FRAME_SECONDS, SEED, told
from soak_brokers import SOAK_BROKERS
from soak_jetstream import JetStreamFault, JetStreamSoak
from soak_plan import Plan
from soak_run import soak

pytestmark = pytest.mark.long(90)


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
        frames=5_000,
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
        seed=SEED, frames=4_000, failovers=failovers, fsync="", senders=4, pace=FRAME_SECONDS
    )
    outcome = soak(plan, JetStreamSoak, tmp_path / "service.log")
    for fault in (JetStreamFault.KILLED, JetStreamFault.STEPPED_DOWN):
        assert f"{fault} 1" in outcome.broker, told(outcome)
    assert f"{failovers} failovers" in outcome.broker, told(outcome)
    assert outcome.judged >= plan.frames or outcome.defects, told(outcome)
    assert outcome.is_clean, told(outcome)
