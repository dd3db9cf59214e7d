"""`examples/read_calls.py` as a user runs it: a process, whose lines are judged by a test."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]

LIMIT_SECONDS = 20.0

FIELDS = ("key", "run", "id", "type", "seq", "data")
"""Of an event, as the example prints and yields it."""

Frame = tuple[str, str, int, bytes]
"""Key, run, seq and audio."""


class ExampleReader:
    """One worker. What it prints is in a file, so that no pipe can fill up and stop it."""

    def __init__(self, command: Sequence[str], folder: Path, worker: str = "one") -> None:
        self._printed, self.errors = folder / f"{worker}.jsonl", folder / f"{worker}.err"
        with self._printed.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=out, stderr=errors)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has printed, but for a line that it is still printing."""
        *lines, _ = self._printed.read_bytes().split(b"\n")
        return [dict(zip(FIELDS, json.loads(line), strict=True)) for line in lines]

    @property
    def frames(self) -> list[Frame]:
        return [
            (e["key"], e["run"], e["seq"], base64.b64decode(e["data"]))
            for e in self.events
            if e["type"] == "audio"
        ]

    def seqs(self, name: str) -> list[int]:
        """The seqs of a stream in the order in which they were printed."""
        return [seq for key, _, seq, _ in self.frames if key.endswith(f"/{name}}}")]

    def seqs_of(self, key: str) -> list[int]:
        """The seqs of a stream by its key."""
        return [seq for found, _, seq, _ in self.frames if found == key]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def stop(self) -> int:
        """Ask it to leave, and return its exit status."""
        self.process.terminate()
        return self.process.wait(LIMIT_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)
