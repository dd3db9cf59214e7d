"""What a service remembers of the last minutes: of one process, and of all its workers."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.outbound.prometheus.lately import MAX_OUTAGES, MINUTE_MS, Costs, Memory
from adapters.outbound.prometheus.telemetry import PrometheusTelemetry
from adapters.outbound.worker_board import Slot, WorkerBoard
from application.ports.exposition import HANDSHAKE_MINUTES, BrokerOutage

NOTHING = Costs(0, 0)
T0 = 30_000_000 * MINUTE_MS
OUTCOMES = ("accepted", "full", "no_broker")


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 4 * MINUTE_MS))))
def test_handshakes_are_counted_by_the_minute_and_let_go(steps: list[tuple[str, int]]) -> None:
    memory, now, all_of_them = Memory(T0), T0, []
    for outcome, passed in steps:
        now += passed
        memory.handshake(outcome, now)
        all_of_them.append((outcome, now))
    lately = memory.lately(NOTHING)
    for outcome in OUTCOMES:
        times = [at for kind, at in all_of_them if kind == outcome]
        counted = lately.handshakes.get(outcome, {})
        assert len(counted) <= HANDSHAKE_MINUTES
        if times:
            since = times[-1] // MINUTE_MS - HANDSHAKE_MINUTES
            assert sum(counted.values()) == sum(at // MINUTE_MS > since for at in times)
        last = times[-1] if times and outcome != "accepted" else None
        assert lately.refused_at_ms.get(outcome) == last


def test_an_outage_is_remembered_with_what_it_cost() -> None:
    memory = Memory(T0)
    memory.broker(up=True, is_partial=False, since_ms=T0, costs=NOTHING)
    memory.broker(up=False, is_partial=True, since_ms=T0 + 5_000, costs=Costs(3, 1))
    memory.broker(up=False, is_partial=False, since_ms=T0 + 6_000, costs=Costs(3, 1))
    lasting = BrokerOutage(T0 + 5_000, None, 4, 0, is_partial=False)
    assert memory.lately(Costs(7, 1)).outages == [lasting]
    memory.broker(up=True, is_partial=False, since_ms=T0 + 17_000, costs=Costs(10, 3))
    over = BrokerOutage(T0 + 5_000, T0 + 17_000, 7, 2, is_partial=False)
    assert memory.lately(Costs(99, 99)).outages == [over]


def test_a_new_connection_is_no_outage_unless_it_cost_something() -> None:
    memory = Memory(T0)
    for lost in (0, 1):
        memory.broker(up=False, is_partial=False, since_ms=T0, costs=NOTHING)
        memory.broker(up=True, is_partial=False, since_ms=T0 + 500, costs=Costs(lost, 0))
    assert [it.lost for it in memory.lately(NOTHING).outages] == [1]


def test_so_many_outages_are_remembered_and_since_when_all_of_them() -> None:
    memory = Memory(T0)
    assert memory.lately(NOTHING).since_ms == T0
    for number in range(MAX_OUTAGES + 1):
        began = T0 + number * 10_000
        memory.broker(up=False, is_partial=False, since_ms=began, costs=NOTHING)
        memory.broker(up=True, is_partial=False, since_ms=began + 4_000, costs=NOTHING)
    lately = memory.lately(NOTHING)
    assert len(lately.outages) == MAX_OUTAGES
    assert lately.since_ms == T0 + 4_000  # the end of the one that is let go


def test_what_a_service_remembers_is_that_of_all_its_workers() -> None:
    board = WorkerBoard.make(2)
    one, two = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    for telemetry, count in ((one, 2), (two, 3)):
        for _ in range(count):
            telemetry.handshake("full")
        telemetry.handshake("wrong_path", is_handshake=False)
        telemetry.broker(up=False, parts={"a": True, "b": False}, since_ms=T0 + count)
        telemetry.frames("lost", count)
        telemetry.received(count)
        telemetry.draining()
        telemetry.share()
    for telemetry in (one, two):
        state = telemetry.service_state()
        assert (state.received, state.lost, state.is_draining) == (5, 5, True)
        assert sorted(state.outages) == [
            BrokerOutage(T0 + 2, None, 2, 0, is_partial=True),
            BrokerOutage(T0 + 3, None, 3, 0, is_partial=True),
        ]
        assert sum(state.handshakes["full"].values()) == 5
        assert "wrong_path" not in state.handshakes
        assert set(state.refused_at_ms) == {"full"}
    assert 'ingest_handshakes_total{outcome="wrong_path"} 2.0' in one.render().decode()


def test_what_a_worker_remembered_outlives_it() -> None:
    board = WorkerBoard.make(2)
    slots = [Slot(board, number, 9) for number in range(2)]
    gone, left = (PrometheusTelemetry(slot) for slot in slots)
    for up, seconds in ((False, 0), (True, 12), (False, 20)):
        gone.broker(up=up, parts={}, since_ms=T0 + seconds * 1_000)
    gone.handshake("full")
    for telemetry in (gone, left):
        telemetry.share()
    over = BrokerOutage(T0, T0 + 12_000, 0, 0, is_partial=False)
    lasting = BrokerOutage(T0 + 20_000, None, 0, 0, is_partial=False)
    assert left.service_state().outages == [over, lasting]
    board.free(0)

    def is_remembered() -> bool:
        state = left.service_state()
        return state.outages == [over] and sum(state.handshakes["full"].values()) == 1

    assert is_remembered()
    PrometheusTelemetry(slots[0]).share()
    assert is_remembered()
