"""docs/quickstart.md, typed as it is: by both ways a call is read by a consumer."""

import json
import re
import signal
import sys
import urllib.request
import wave
from collections import Counter
from pathlib import Path

import pytest
from document_blocks import ROOT, block, replaced
from document_shell import Running, Shell
from example_venv import ExampleVenv
from ports import quiet_port
from waiting import wait_for, wait_until

GUIDE = "docs/quickstart.md"
NAMED = re.compile(r"REDIS_URL=(redis://\S+)")


def address(service: Running, port: int) -> str:
    """Return the broker's address as the service names it, once calls are taken."""

    def named() -> str | None:
        assert service.process.poll() is None, service.printed
        found = NAMED.search(service.printed)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1):
                return found[1] if found else None
        except OSError:
            return None

    return wait_for(named)


def fast(calls: str, port: int) -> str:
    """Play them flat out, at the port of this test."""
    return calls.strip() + f" --url ws://127.0.0.1:{port}/v1/ingest --speed flat-out"


def test_from_the_repository(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    port = quiet_port()
    installed = Path(sys.prefix)  # what `make` would make
    serve = replaced(
        block(GUIDE, "the-service").text,
        ADDRESS=str(ROOT),
        **{"make serve": f"exec make --old-file={installed}/installed VENV={installed} serve"},
    )
    with shell.running(serve, PORT=str(port)) as service:
        broker = address(service, port)
        python = {".venv/bin/": f"{installed}/bin/"}
        consume = replaced(block(GUIDE, "the-consumer").text, **python)
        consume = replaced(consume, **{"redis://127.0.0.1:PORT/0": broker})
        shell.folder /= "rtaa-ingest"
        with shell.running(consume) as consumer:
            played = shell.run(fast(replaced(block(GUIDE, "the-calls").text, **python), port))
            assert played.count(" ok ") == 2

            def events() -> list[list[str]]:
                *lines, _ = consumer.printed.split("\n")
                return [json.loads(line) for line in lines if line.startswith("[")]

            wait_until(lambda: Counter(it[3] for it in events())["ended"] == 2)
            kinds = Counter(it[3] for it in events())
            assert kinds["started"] == 2
            sent = re.findall(r"│ sim-\S+ +│ +(\d+) │", played)
            assert len(sent) == 2
            assert kinds["audio"] == sum(map(int, sent))
        service.stop()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    return ExampleVenv(ROOT / "clients" / "python", tmp_path_factory.mktemp("wheel"))


PIPX = """
import os, sys
assert sys.argv[1] == "install" and os.path.exists(sys.argv[2]), sys.argv
"""
"""Stands in for pipx: the wheel is in its venv already."""


def test_from_the_wheel(wheel: ExampleVenv, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.stand_in("pipx", PIPX)
    shell.first.append(wheel.python.parent)
    (built,) = wheel.python.parents[2].glob("rtaa_ingest-*.whl")
    (tmp_path / built.name).symlink_to(built)
    port = quiet_port()
    pipx, serve = block(GUIDE, "the-wheel").text.splitlines()
    with shell.running(f"{pipx}\nexec env {serve}", PORT=str(port)) as service:
        broker = {"redis://127.0.0.1:PORT/0": address(service, port)}
        *first, play, export, tail = replaced(block(GUIDE, "the-views").text, **broker).splitlines()
        setting = "\n".join(first)
        shell.run(f"{setting}\n{play} --url ws://127.0.0.1:{port}/v1/ingest\n{export}")
        (recording,) = (tmp_path / "calls").glob("*.wav")
        with wave.open(str(recording)) as wav:
            assert wav.getnframes() > wav.getframerate()
        with shell.running(f"{setting}\nexec {tail}") as tailing:
            wait_until(lambda: "live call(s)" in tailing.printed)
            another = play.replace("first", "other")
            shell.run(f"{setting}\n{another} --url ws://127.0.0.1:{port}/v1/ingest")
            wait_until(lambda: "demo/other-1  ended" in tailing.printed)
            tailing.stop()
        program = replaced(block(GUIDE, "the-program").text, **broker)
        lines = [line.split() for line in wheel.run("-c", program).splitlines()]
        kinds = Counter(kind for _, kind, _ in lines)
        assert (kinds["started"], kinds["ended"]) == (1, 1)
        assert sum(int(size) for _, _, size in lines) == 2 * wav.getnframes()
        assert service.stop(signal.SIGTERM) == 0
