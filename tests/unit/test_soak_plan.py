"""A soak can be repeated: all that is left to chance is drawn from its seed."""

import pytest
from soak_brokers import SOAK_BROKERS
from soak_plan import Plan
from soak_server import ServerSoak


@pytest.mark.parametrize("kind", SOAK_BROKERS)
def test_the_same_seed_draws_the_same_faults_and_calls(kind: str) -> None:
    one, same, other = (
        Plan(seed=n, frames=10_000, kills=5, failovers=5, moves=5) for n in (1, 1, 2)
    )
    draw = SOAK_BROKERS[kind].draw
    assert one.broker_faults(draw) == same.broker_faults(draw) != other.broker_faults(draw)
    assert one.faults() == same.faults() != other.faults()
    assert next(iter(one.calls(0))) == next(iter(same.calls(0)))


def test_a_server_is_rolled_back_as_often_as_it_may_be() -> None:
    plan = Plan(seed=1, frames=10_000, kills=5, fsync="everysec")
    drawn = plan.broker_faults(ServerSoak.draw)
    assert sum(planned.fault == "younger" for planned in drawn) == 2
    assert ServerSoak.youngers(Plan(seed=1, frames=10_000, kills=5, fsync="always")) == 0


@pytest.mark.parametrize(
    ("kind", "failovers", "kinds"),
    [("sentinel", 7, 7), ("cluster", 5, 5), ("jetstream", 4, 4)],
)
def test_each_kind_of_failover_is_drawn_as_often(kind: str, failovers: int, kinds: int) -> None:
    plan = Plan(seed=1, frames=10_000, failovers=2 * failovers)
    drawn = [planned.fault for planned in plan.broker_faults(SOAK_BROKERS[kind].draw)]
    assert len({fault for fault in drawn if drawn.count(fault) >= 2}) >= kinds


@pytest.mark.parametrize("kind", SOAK_BROKERS)
def test_without_kills_only_senders_are_cut(kind: str) -> None:
    calm = Plan(seed=1, frames=10_000)
    assert {planned.fault for planned in calm.faults()} == {"sender cut"}
    assert calm.broker_faults(SOAK_BROKERS[kind].draw) == []
