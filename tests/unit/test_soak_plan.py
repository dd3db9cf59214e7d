"""A soak can be repeated: all that is left to chance is drawn from its seed."""

from soak_plan import Plan


def test_the_same_seed_draws_the_same_faults_and_calls() -> None:
    one, same, other = (Plan(seed=n, frames=10_000, kills=5, fsync="everysec") for n in (1, 1, 2))
    assert one.faults() == same.faults() != other.faults()
    assert next(iter(one.calls(0))) == next(iter(same.calls(0)))
    assert sum(planned.fault == "younger" for planned in one.faults()) == one.youngers == 2
    assert Plan(seed=1, frames=10_000, kills=5, fsync="always").youngers == 0


def test_without_kills_only_senders_are_cut() -> None:
    calm = Plan(seed=1, frames=10_000, kills=0, fsync="everysec")
    assert {planned.fault for planned in calm.faults()} == {"sender cut"}
