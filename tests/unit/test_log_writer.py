"""Lines go to the descriptor in order; what cannot be written is dropped and counted."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from waiting import wait_until

from entrypoints.log_writer import QUEUE_BYTES, LogWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.fixture
def full_pipe(pipe: tuple[int, int]) -> tuple[int, int]:
    """A pipe full of line ends: the first write to it does not return."""
    os.set_blocking(pipe[1], False)
    for size in (65_536, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(pipe[1], b"\n" * size)
    os.set_blocking(pipe[1], True)
    return pipe


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, (), None)


def read_lines(descriptor: int, ends_with: str) -> list[str]:
    """Read until a line ends so."""
    text = ""
    while not text.endswith(f"{ends_with}\n"):
        text += os.read(descriptor, 65_536).decode()
    return text.splitlines()


def read_until(descriptor: int, lines: int) -> list[str]:
    """Read so many lines that are not blank."""
    text, found = "", list[str]()
    while not text.endswith("\n") or len(found) < lines:
        text += os.read(descriptor, 65_536).decode()
        found = [line for line in text.splitlines() if line]
    return found


def fill(writer: LogWriter, size: int = 1_000) -> int:
    """Log to a full pipe until a line is dropped; return how many were taken."""
    writer.handle(record(f"{0:06}{'x' * size}"))
    wait_until(lambda: writer._is_writing)  # the queue is filled after a write that waits
    taken = 1
    while not writer.dropped:
        writer.handle(record(f"{taken:06}{'x' * size}"))
        taken += 1
        assert taken < 10 * QUEUE_BYTES // size
    return taken - 1


def test_lines_are_written_in_their_order(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    for number in range(500):
        writer.handle(record(str(number)))
    assert read_lines(pipe[0], "499") == [str(number) for number in range(500)]
    writer.close()


def test_a_pipe_that_is_not_read_costs_lines_and_tells_how_many(full_pipe: tuple[int, int]) -> None:
    writer = LogWriter(full_pipe[1])
    taken = fill(writer)
    for _ in range(10):
        writer.handle(record("y" * 1_000))
    assert writer.dropped == 11
    lines = read_until(full_pipe[0], taken + 1)
    lines.remove("log lines were dropped")
    assert [line[:6] for line in lines] == [f"{number:06}" for number in range(taken)]
    writer.handle(record("again"))
    assert read_lines(full_pipe[0], "again") == ["again"]
    assert writer.dropped == 11
    writer.close()


def test_a_pipe_without_a_reader_costs_lines_only(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        writer.handle(record("without a reader"))
    wait_until(lambda: writer.dropped == 3)
    writer.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_costs_lines_only() -> None:
    with Path("/dev/full").open("wb") as full:
        writer = LogWriter(full.fileno())
        writer.handle(record("does not fit"))
        wait_until(lambda: writer.dropped == 1)
        writer.close()
        writer.flush()


def test_a_descriptor_that_another_process_made_non_blocking_is_waited_for(
    full_pipe: tuple[int, int],
) -> None:
    os.set_blocking(full_pipe[1], False)
    writer = LogWriter(full_pipe[1])
    taken = fill(writer)
    assert "log lines were dropped" in read_until(full_pipe[0], taken + 1)
    writer.close()


def test_a_line_that_was_cut_off_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk; half of the second line finds room."""
    code = (
        "import logging, resource, signal, sys, time\n"
        "from entrypoints.log_writer import LogWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))\n"
        "writer = LogWriter()\n"
        "log = lambda c: (writer.handle(logging.LogRecord('t', 20, '', 1, c * 99, (), None)),"
        " writer.flush())\n"
        "log('a'); log('b')\n"
        "assert writer.dropped == 1\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "log('c'); time.sleep(0.1); writer.flush()\n"
    )
    run_with_stderr_in(tmp_path / "log", code)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["a" * 99, "b" * 50, "c" * 99, "log lines were dropped"]


def run_with_stderr_in(path: Path, code: str) -> None:
    with path.open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stderr=log, check=True, timeout=30)


def test_flushing_a_pipe_that_is_not_read_ends(full_pipe: tuple[int, int]) -> None:
    writer = LogWriter(full_pipe[1])
    fill(writer)
    writer.flush()  # would not return
    os.read(full_pipe[0], 65_536)
    writer.close()


def test_a_record_that_cannot_be_formatted_is_counted(
    pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    writer = LogWriter(pipe[1])
    writer.handle(logging.LogRecord("test", logging.INFO, __file__, 1, "%d", ("x",), None))
    assert writer.dropped == 1
    assert capfd.readouterr().err == ""
    writer.close()
