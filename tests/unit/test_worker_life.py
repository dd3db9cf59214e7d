"""What the parent of the workers makes of their signs of life."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from entrypoints.listening import Endpoint
from entrypoints.workers import (
    MAX_SILENT_LOOKS,
    MAX_START_LOOKS,
    STEADY_SECONDS,
    Workers,
    _Worker,
)


class Process:
    is_killed = False

    def kill(self) -> None:
        self.is_killed = True


@pytest.fixture
def parent() -> Workers:
    return Workers(1, {}, [], drain_seconds=0.0)


@pytest.fixture
def worker(parent: Workers) -> _Worker:
    return parent._workers[0]


def looks_until_killed(parent: Workers, worker: _Worker) -> int:
    process: Any = Process()
    worker.process = process
    for looks in range(1, 2 * MAX_START_LOOKS):
        parent._look_for_life(worker)
        if process.is_killed:
            return looks
    raise AssertionError("it is never killed")


def test_a_worker_that_starts_may_be_silent_for_longer(parent: Workers, worker: _Worker) -> None:
    assert looks_until_killed(parent, worker) == MAX_START_LOOKS
    parent._board.note_heartbeat(0)
    assert looks_until_killed(parent, worker) == 1 + MAX_SILENT_LOOKS


@pytest.mark.parametrize("has_lived", [False, True])
def test_a_worker_that_never_showed_life_is_replaced_later_each_time(
    parent: Workers, worker: _Worker, has_lived: bool
) -> None:
    waits = []
    for _ in range(3):
        if has_lived:
            parent._board.note_heartbeat(0)
        parent._note_end(worker, -9, worker.start_at + STEADY_SECONDS)
        waits.append(worker.backoff.seconds)
    assert waits == ([0.0, 0.0, 0.0] if has_lived else [0.1, 0.2, 0.4])


@pytest.fixture
def listening() -> Iterator[_Worker]:
    """A worker's slot that connections wait at, on a port of its own."""
    parent = Workers(1, {}, [Endpoint(socket.AF_INET, "127.0.0.1", 0, "PORT")], drain_seconds=0.0)
    (worker,) = parent._workers
    yield worker
    worker.stop_listening()


def waits(listening: socket.socket) -> bool:
    """Tell whether connections wait here."""
    return bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def test_connections_wait_for_the_next_worker_when_one_dies_young_once(listening: _Worker) -> None:
    (at,) = listening.sockets
    listening.start_later(0.0, is_likely=True)
    assert listening.sockets == [at]
    assert waits(at)
    listening.start_later(0.1, is_likely=True)
    assert at.fileno() == -1
    assert not waits(listening.sockets[0])


def test_no_connection_waits_for_a_worker_whose_start_has_failed(listening: _Worker) -> None:
    listening.start_later(0.0)
    assert not waits(listening.sockets[0])
