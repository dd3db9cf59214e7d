import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.outbound.prometheus import PrometheusTelemetry
from adapters.outbound.worker_board import SEAT_BYTES, Seat, WorkerBoard


def test_the_places_of_a_worker_that_is_gone_are_free_again() -> None:
    board = WorkerBoard.make(2)
    gone, other = (Seat(board, number, places=3) for number in range(2))
    assert [gone.take(), gone.take(), other.take(), other.take()] == [True, True, True, False]
    board.free(0)
    assert [other.take(), other.take(), other.take()] == [True, True, False]


def test_words_are_heard_by_the_others_and_by_whoever_takes_the_seat_over() -> None:
    board = WorkerBoard.make(3)
    seats = [Seat(board, number, places=1) for number in range(3)]
    assert seats[0].own() is None
    assert list(seats[0].others()) == []
    seats[0].say(b"zero")
    seats[2].say(b"two")
    assert list(seats[0].others()) == [b"two"]
    assert list(seats[1].others()) == [b"zero", b"two"]
    board.free(2)
    assert Seat(board, 2, places=1).own() == b"two"
    seats[2].say(b"II")
    assert list(seats[0].others()) == [b"II"]


@given(st.binary(min_size=1, max_size=SEAT_BYTES - 16), st.binary(min_size=1, max_size=100))
def test_what_is_said_stays_on_its_seat(words: bytes, other: bytes) -> None:
    board = WorkerBoard.make(2)
    board.write(1, other)
    board.add(1, 7)
    board.write(0, words)
    assert (board.read(0), board.read(1), board.taken(1)) == (words, other, 7)


def test_words_that_do_not_fit_are_refused_and_half_written_ones_not_heard() -> None:
    board = WorkerBoard.make(1)
    with pytest.raises(ValueError, match="do not fit"):
        board.write(0, bytes(SEAT_BYTES))
    board.write(0, b"whole")
    board._memory[16:18] = b"xx"
    assert board.read(0) is None


def test_a_scrape_of_one_shows_the_sums_of_all() -> None:
    board = WorkerBoard.make(2)
    one, two = (PrometheusTelemetry(Seat(board, number, 9)) for number in range(2))
    for telemetry, count in ((one, 2), (two, 5)):
        telemetry.received(count)
        telemetry.frames("rejected", 1, reason="invalid_audio")
        telemetry.handshake("accepted")
        telemetry.stream_opened("exostreamkit")
        telemetry.confirmed([0.003] * count)
        telemetry.buffered(100 * count)
        telemetry.broker(up=True)
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
        assert "ingest_broker_up 1.0" in lines
    two.broker(up=False)
    two.share()
    assert "ingest_broker_up 0.0" in one.render().decode().splitlines()


def test_a_successor_goes_on_with_the_counts_and_not_with_the_gauges() -> None:
    board = WorkerBoard.make(1)
    first = PrometheusTelemetry(Seat(board, 0, 9))
    first.received(3)
    first.confirmed([0.003] * 3)
    first.stream_opened("agentstream")
    first.buffered(640)
    first.broker(up=True)
    first.share()
    lines = PrometheusTelemetry(Seat(board, 0, 9)).render().decode().splitlines()
    assert 'ingest_frames_total{outcome="received",reason=""} 3.0' in lines
    assert 'ingest_frames_total{outcome="published",reason=""} 3.0' in lines
    assert "ingest_buffered_bytes 0.0" in lines
    assert "ingest_broker_up 0.0" in lines
    assert not any(line.startswith("ingest_streams{") for line in lines)
