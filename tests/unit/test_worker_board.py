import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.outbound.prometheus.families import Series
from adapters.outbound.prometheus.tally import MAX_TENANTS
from adapters.outbound.prometheus.telemetry import PrometheusTelemetry
from adapters.outbound.worker_board import MAX_SNAPSHOT_BYTES, SLOT_BYTES, Slot, WorkerBoard
from application.ports.telemetry import HeldBytes
from domain.audio_health import Finding
from domain.identifiers import MAX_LENGTH


def test_the_places_of_a_worker_that_is_gone_are_free_again() -> None:
    board = WorkerBoard.make(2)
    gone, other = (Slot(board, number, places=3) for number in range(2))
    assert [gone.take(), gone.take(), other.take(), other.take()] == [True, True, True, False]
    board.free(0)
    assert [other.take(), other.take(), other.take()] == [True, True, False]


def test_snapshots_are_read_by_the_others_and_by_a_successor_on_the_slot() -> None:
    board = WorkerBoard.make(3)
    slots = [Slot(board, number, places=1) for number in range(3)]
    assert slots[0].own() is None
    assert list(slots[0].others()) == list(slots[0].gone()) == []
    slots[0].say(b"zero")
    slots[2].say(b"two")
    assert list(slots[0].others()) == [b"two"]
    assert list(slots[1].others()) == [b"zero", b"two"]
    board.free(2)
    assert (list(slots[0].others()), list(slots[0].gone())) == ([], [b"two"])
    successor = Slot(board, 2, places=1)
    assert successor.own() == b"two"
    successor.say(b"II")
    assert (list(slots[0].others()), list(slots[0].gone())) == ([b"II"], [])


def test_a_worker_that_says_something_shows_life() -> None:
    board = WorkerBoard.make(2)
    slot = Slot(board, 1, places=1)
    heartbeats = [board.heartbeat(1)]
    for _ in range(3):
        slot.say(b"the same")
        heartbeats.append(board.heartbeat(1))
    assert heartbeats[0] == 0
    assert len(set(heartbeats)) == len(heartbeats)
    assert board.heartbeat(0) == 0


@given(
    st.lists(st.binary(min_size=1, max_size=MAX_SNAPSHOT_BYTES), min_size=1, max_size=4),
    st.binary(min_size=1, max_size=100),
)
def test_what_is_written_last_stays_on_its_slot(snapshots: list[bytes], other: bytes) -> None:
    board = WorkerBoard.make(3)
    for slot in (0, 2):
        board.write(slot, other)
        board.add(slot, 7)
        board.note_heartbeat(slot)
    for snapshot in snapshots:
        board.write(1, snapshot)
        assert (board.read(1), board.taken(1), board.heartbeat(1)) == (snapshot, 0, 0)
    for slot in (0, 2):
        assert (board.read(slot), board.taken(slot), board.heartbeat(slot)) == (other, 7, 1)


def test_a_board_needs_no_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    board = WorkerBoard.make(2)
    board.write(1, b"here")
    assert WorkerBoard(board.fd).read(1) == b"here"


def test_the_memory_of_a_board_is_there_from_the_start() -> None:
    board = WorkerBoard.make(3)
    assert os.fstat(board.fd).st_blocks * 512 >= 3 * SLOT_BYTES


def test_a_board_without_space_is_an_error_and_not_a_signal_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setattr("tempfile.TemporaryFile", partial(Path("/dev/full").open, "w+b"))
    with pytest.raises(OSError, match="No space left"):
        WorkerBoard.make(2)


def test_snapshots_that_do_not_fit_are_refused() -> None:
    board = WorkerBoard.make(1)
    board.write(0, bytes(MAX_SNAPSHOT_BYTES))
    with pytest.raises(ValueError, match="do not fit"):
        board.write(0, bytes(MAX_SNAPSHOT_BYTES + 1))


@given(st.integers(1, 5), st.data())
def test_a_writer_killed_at_any_byte_leaves_the_snapshot_before(
    count: int, data: st.DataObject
) -> None:
    board = WorkerBoard.make(1)
    for number in range(count):
        board.write(0, b"snapshot %d" % number)
    before = bytes(board._memory)
    board.write(0, b"never written whole")
    after = bytes(board._memory)
    changed = [at for at in range(len(after)) if after[at] != before[at]]
    written = data.draw(st.sets(st.sampled_from(changed), max_size=len(changed) - 1))
    for at in changed:
        board._memory[at] = (after if at in written else before)[at]
    assert board.read(0) == b"snapshot %d" % (count - 1)


def test_a_scrape_of_one_shows_the_sums_of_all() -> None:
    board = WorkerBoard.make(2)
    slots = [Slot(board, number, 9) for number in range(2)]
    one, two = (PrometheusTelemetry(slot, places=slot, buffer_bytes=1_000) for slot in slots)
    assert slots[1].take()
    for telemetry, count in ((one, 2), (two, 5)):
        telemetry.received(count)
        telemetry.frames("rejected", 1, reason="invalid_audio")
        telemetry.handshake("accepted")
        telemetry.stream_opened("exostreamkit")
        telemetry.confirmed([0.003] * count)
        telemetry.watch(lambda count=count: HeldBytes(100 * count, 0))  # type: ignore[misc]
        telemetry.watch_oldest(lambda count=count: count / 2)  # type: ignore[misc]
        telemetry.run_ended("idle")
        telemetry.broker(up=True, parts={}, since_ms=0)
        telemetry.share()
    for telemetry in (one, two):
        lines = telemetry.render().decode().splitlines()
        assert 'ingest_frames_total{outcome="received",reason=""} 7.0' in lines
        assert 'ingest_frames_total{outcome="published",reason=""} 7.0' in lines
        assert 'ingest_frames_total{outcome="rejected",reason="invalid_audio"} 2.0' in lines
        assert 'ingest_handshakes_total{outcome="accepted"} 2.0' in lines
        assert 'ingest_streams{dialect="exostreamkit"} 2.0' in lines
        assert "ingest_confirm_seconds_count 7.0" in lines
        assert "ingest_buffered_bytes 700.0" in lines
        assert "ingest_max_buffered_bytes 2000.0" in lines
        assert "ingest_oldest_unconfirmed_seconds 2.5" in lines
        assert "ingest_connections 1.0" in lines
        assert "ingest_max_connections 9.0" in lines
        assert 'ingest_starts_total{dialect="exostreamkit"} 2.0' in lines
        assert 'ingest_runs_ended_total{reason="idle"} 2.0' in lines
        assert "ingest_broker_up 1.0" in lines
    two.broker(up=False, parts={}, since_ms=0)
    two.share()
    assert "ingest_broker_up 0.0" in one.render().decode().splitlines()


def test_a_part_of_the_broker_is_up_when_it_is_so_for_all_workers() -> None:
    board = WorkerBoard.make(3)
    one, two, three = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(3))
    one.broker(up=True, parts={"a": True, "b": True}, since_ms=0)
    two.broker(up=False, parts={"a": True, "b": False}, since_ms=0)
    three.broker(up=False, parts={}, since_ms=0)  # it does not know the parts yet
    for telemetry in (two, three):
        telemetry.share()
    for telemetry in (one, two):
        telemetry.share()
        lines = telemetry.render().decode().splitlines()
        assert 'ingest_broker_part_up{part="a"} 1.0' in lines
        assert 'ingest_broker_part_up{part="b"} 0.0' in lines
        assert "ingest_broker_up 0.0" in lines


def test_a_store_of_one_part_has_no_part_that_is_up_or_not() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.broker(up=True, parts={}, since_ms=0)
    assert "ingest_broker_part_up{" not in telemetry.render().decode()


def test_of_a_worker_that_is_gone_the_counts_are_shown_and_not_the_gauges() -> None:
    board = WorkerBoard.make(2)
    gone, left = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    for telemetry in (gone, left):
        telemetry.received(3)
        telemetry.stream_opened("agentstream")
        telemetry.watch(lambda: HeldBytes(640, 0))
        telemetry.broker(up=True, parts={}, since_ms=0)
    gone.broker(up=False, parts={}, since_ms=0)
    gone.share()
    board.free(0)
    lines = left.render().decode().splitlines()
    assert 'ingest_frames_total{outcome="received",reason=""} 6.0' in lines
    assert 'ingest_streams{dialect="agentstream"} 1.0' in lines
    assert "ingest_buffered_bytes 640.0" in lines
    assert "ingest_broker_up 1.0" in lines


def test_what_was_shown_once_is_not_less_when_who_showed_it_has_died() -> None:
    board = WorkerBoard.make(2)
    dying, other = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    dying.received(5)
    assert 'ingest_frames_total{outcome="received",reason=""} 5.0' in dying.render().decode()
    board.free(0)
    assert 'ingest_frames_total{outcome="received",reason=""} 5.0' in other.render().decode()


def test_a_successor_continues_with_the_counts_and_not_with_the_gauges() -> None:
    board = WorkerBoard.make(1)
    first = PrometheusTelemetry(Slot(board, 0, 9))
    first.received(3)
    first.confirmed([0.003] * 3)
    first.stream_opened("agentstream")
    first.run_ended("idle")
    first.watch(lambda: HeldBytes(640, 0))
    first.broker(up=True, parts={}, since_ms=0)
    first.share()
    lines = PrometheusTelemetry(Slot(board, 0, 9)).render().decode().splitlines()
    assert 'ingest_frames_total{outcome="received",reason=""} 3.0' in lines
    assert 'ingest_frames_total{outcome="published",reason=""} 3.0' in lines
    assert "ingest_buffered_bytes 0.0" in lines
    assert "ingest_broker_up 0.0" in lines
    assert not any(line.startswith("ingest_streams{") for line in lines)


def test_dropped_spans_are_added_up_and_outlive_a_worker() -> None:
    board = WorkerBoard.make(2)
    one, two = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    one.watch_spans(lambda: 3)
    two.watch_spans(lambda: 4)
    one.share()
    assert "ingest_spans_dropped_total 7.0" in two.render().decode().splitlines()
    successor = PrometheusTelemetry(Slot(board, 0, 9))
    successor.watch_spans(lambda: 1)
    assert "ingest_spans_dropped_total 8.0" in successor.render().decode().splitlines()


def test_what_is_counted_of_audio_is_added_up_and_outlives_a_worker() -> None:
    board, known = WorkerBoard.make(2), Series(findings=["silent", "stuck"])
    one, two = (PrometheusTelemetry(Slot(board, number, 9), known) for number in range(2))
    for telemetry, findings in (one, ["silent"]), (two, ["silent", "stuck"]), (two, []):
        telemetry.audio_found("silent")
        telemetry.audio_sampled("measured")
        telemetry.audio_ended("a", findings)
        telemetry.share()
    one.audio_ended("b", ["stuck"])
    board.free(1)
    lines = one.render().decode().splitlines()
    assert 'ingest_audio_health_streams_total{kind="silent"} 3.0' in lines
    assert 'ingest_audio_health_samples_total{outcome="measured"} 3.0' in lines
    assert 'ingest_audio_health_runs_total{tenant="a"} 3.0' in lines
    assert 'ingest_audio_health_runs_total{tenant="b"} 1.0' in lines
    assert 'ingest_audio_health_runs_total{tenant="other"} 0.0' in lines
    assert 'ingest_audio_health_run_findings_total{kind="silent",tenant="a"} 2.0' in lines
    assert 'ingest_audio_health_run_findings_total{kind="stuck",tenant="a"} 1.0' in lines
    assert 'ingest_audio_health_run_findings_total{kind="stuck",tenant="b"} 1.0' in lines


def test_the_tenants_that_are_told_apart_leave_most_of_the_slot_to_the_rest() -> None:
    telemetry = PrometheusTelemetry()
    for number in range(2 * MAX_TENANTS):
        tenant = f"{number:0{MAX_LENGTH}}"
        telemetry.audio_ended(tenant, [finding.value for finding in Finding])
    for runs in telemetry._tally.audio_ended.values():
        runs.update(dict.fromkeys(runs, 2**60))
    assert len(telemetry._words()) < MAX_SNAPSHOT_BYTES / 2
