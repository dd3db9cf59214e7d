"""Commands where the machine around them is odd: blank variables, files, encodings, terminals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import OPEN, run
from ports import quiet_port
from terminal import terminal
from waiting import wait_until

NOWHERE = ("--url", f"ws://127.0.0.1:{quiet_port()}/v1/ingest")
NO_BROKER = f"redis://127.0.0.1:{quiet_port()}/0"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Variables that are read from files, as a service has them."""
    texts = {"PUBSUB_ADAPTER": "redis_streams\n", "REDIS_URL": NO_BROKER, "STREAM_PREFIX": "other"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {f"{name}_FILE": str(tmp_path / name) for name in texts}


@pytest.mark.parametrize(
    "arguments",
    [(), ("--stream-prefix", "mine"), ("--redis-url", NO_BROKER)],
    ids=["no option", "a prefix", "an address"],
)
def test_simulate_reads_where_to_look_from_files_too(
    files: dict[str, str], arguments: tuple[str, ...]
) -> None:
    done = run("simulate", *NOWHERE, "--dialect", "agentstream", *arguments, env=files)
    assert done.returncode == 1
    assert "the ledgers could not be read: 127.0.0.1:" in done.stderr
    assert "not connected" in done.stdout  # what the carrier knows is told all the same


@pytest.mark.parametrize("dialect", ["exostreamkit", "agentstream"])
def test_simulate_takes_bytes_that_are_no_text(dialect: str) -> None:
    words = [*NOWHERE, "--dialect", dialect, "--interaction-prefix", os.fsdecode(b"p\xff")]
    variables = {**os.environ, "SIMULATE_BASIC": os.fsdecode(b"user:\xff")}
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.program", "simulate", *words],
        env=variables,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"not connected" in done.stdout


@pytest.mark.parametrize("text", ["in_memory ", "\tin_memory"])
@pytest.mark.parametrize("command", [("serve", "--embedded"), ("demo",)])
def test_blanks_around_the_adapter_of_an_embedded_broker_are_dropped(
    tmp_path: Path, command: tuple[str, ...], text: str
) -> None:
    done = run(*command, env={**OPEN, "PUBSUB_ADAPTER": text}, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Error: in_memory has no server to embed\n"


@pytest.mark.parametrize("command", [("serve", "--embedded"), ("demo",)])
def test_the_adapter_of_an_embedded_broker_may_be_in_a_file(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    named = tmp_path / "adapter"
    named.write_text("in_memory\n")
    variables = {"SUPPORT_EXOTEL": "true", "PUBSUB_ADAPTER_FILE": str(named)}
    done = run(*command, env=variables, cwd=tmp_path)
    assert done.stderr == "Error: in_memory has no server to embed\n"
    named.write_text("\n")
    done = run(*command, env=variables, cwd=tmp_path)
    assert done.returncode == 1
    assert "PUBSUB_ADAPTER_FILE: found an empty file" in done.stderr


def test_characters_that_the_output_cannot_have_are_escaped() -> None:
    variables = {
        **OPEN,
        "PUBSUB_ADAPTER": "in_memory",
        "EXOTEL_USERNAME": "jürgen",
        "EXOTEL_PASSWORD": "x",
        "PYTHONIOENCODING": "ascii",
    }
    done = run("check", "--config-only", env=variables)
    assert done.returncode == 0, done.stderr
    assert r"j\xfcrgen" in done.stdout


def test_top_says_that_a_dumb_terminal_is_too_little() -> None:
    with terminal("top", env={"PUBSUB_ADAPTER": "in_memory", "TERM": "dumb"}) as shown:
        wait_until(lambda: "needs a terminal that can do more than TERM=dumb" in shown.written)
        assert shown.wait() == 1
