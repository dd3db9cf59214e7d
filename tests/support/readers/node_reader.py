"""The Node.js reader of `clients/node` as the tests run it: its packages, and its workers."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from example_reader import ExampleReader

CLIENT = Path(__file__).parents[3] / "clients" / "node"

INSTALL_SECONDS = 60

LOCK = Path(tempfile.gettempdir()) / f"rtaa-reader-{zlib.crc32(bytes(CLIENT))}.lock"


def install() -> None:
    """Put the locked packages into `node_modules`; skip the tests where that cannot be."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other tests need them too
        _install()


def _install() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed")
    installed = CLIENT / "node_modules" / ".package-lock.json"
    lock = CLIENT / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            ["npm", "ci", *options],
            cwd=CLIENT,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(
            f"packages of Node.js are not installed: npm ci took more than {INSTALL_SECONDS} s"
        )
    if done.returncode != 0:
        pytest.skip(f"packages of Node.js are not installed: {done.stderr[-500:]}")
    os.utime(installed)


@dataclass
class Owned:
    """What one worker has printed of a call while it owned it."""

    fence: int
    worker: str
    behind: str
    events: list[dict[str, Any]]


@contextmanager
def node_worker(
    url: str, folder: Path, name: str, *, lease_ms: int = 2000, settle_ms: int = 1000
) -> Iterator[ExampleReader]:
    """Run `clients/node/test/worker.js`; it is killed at the end."""
    script = str(CLIENT / "test" / "worker.js")
    command = ["node", script, url, "asr", name, str(lease_ms), str(settle_ms)]
    worker = ExampleReader(command, folder, name)
    try:
        yield worker
    finally:
        worker.kill()


def owners(workers: Mapping[str, ExampleReader]) -> dict[str, list[Owned]]:
    """Return who owned each call in turn, by its key."""
    found: dict[str, list[Owned]] = {}
    for name, worker in workers.items():
        current: dict[str, Owned] = {}
        for event in worker.events:
            key = event["key"]
            if event["type"] == "open":
                current[key] = Owned(event["data"], name, event["id"], [])
                found.setdefault(key, []).append(current[key])
            else:
                current[key].events.append(event)
    return {key: sorted(turns, key=lambda it: it.fence) for key, turns in found.items()}


def committed(turns: Sequence[Owned]) -> list[dict[str, Any]]:
    """Return the events of a call that count: of each owner, those that it had committed."""
    counted: list[dict[str, Any]] = []
    for turn in turns:
        ids = [event["id"] for event in counted]
        if turn.behind in ids:
            del counted[len(ids) - ids[::-1].index(turn.behind) :]
        else:
            assert turn is turns[0], f"{turn.behind} was committed and never given"
        counted += turn.events
    return counted
