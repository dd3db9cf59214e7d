"""Commands whose standard output takes nothing: a device that is full, a pipe without a reader."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import OPEN, run
from running import Caller, Service

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.cli.standard_output import UNWRITABLE

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@pytest.fixture
def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def unread() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def assert_told(stderr: str, status: int) -> None:
    errors = [line for line in stderr.splitlines() if line.startswith("Error")]
    assert errors == ["Error: standard output: No space left on device"]
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    assert status == UNWRITABLE


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--config-only"), ("tail", "--once")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_device_is_told_in_one_line(
    valkey: EmbeddedValkey, full: int, arguments: tuple[str, ...], unbuffered: str
) -> None:
    env = {**OPEN, "REDIS_URL": valkey.url, "PYTHONUNBUFFERED": unbuffered}
    done = run(*arguments, env=env, stdout=full)
    assert done.stderr.count("\n") == 1
    assert_told(done.stderr, done.returncode)


async def test_a_full_device_does_not_cost_an_export_its_files(
    service: Service, valkey: EmbeddedValkey, name: str, full: int, tmp_path: Path
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 1)
    await caller.end()
    env = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    done = run("export", "tenant-abc", name, "--output", str(tmp_path), env=env, stdout=full)
    assert_told(done.stderr, done.returncode)
    assert {path.suffix for path in tmp_path.iterdir()} == {".wav", ".json"}


def test_a_full_device_is_not_taken_for_the_files_of_the_demo(full: int, tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path, stdout=full)
    assert_told(done.stderr, done.returncode)


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--config-only"), ("tail", "--once")])
def test_a_reader_that_has_left_is_no_error(
    valkey: EmbeddedValkey, unread: int, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, env={**OPEN, "REDIS_URL": valkey.url}, stdout=unread)
    assert done.stderr == ""
    assert done.returncode == 1
