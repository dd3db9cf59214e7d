"""Workers of the readers' kit as processes, and a judge of what they have read."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from history import SentStream

LIMIT_SECONDS = 20.0

Run = tuple[str, str]
"""Stream and run."""


class KitReader:
    """One worker. What it prints is in a file, so that no pipe can fill up and stop it."""

    def __init__(self, url: str, folder: Path, worker: str, lease_seconds: float) -> None:
        self._printed, self.errors = folder / f"{worker}.jsonl", folder / f"{worker}.err"
        self._at, self._lines, self._rest = 0, list[list[Any]](), b""
        program = str(Path(__file__).with_name("kit_worker.py"))
        command = [sys.executable, program, url, worker, str(lease_seconds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._printed.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors)

    @property
    def lines(self) -> list[list[Any]]:
        """What it has printed, but for a line that it is still printing."""
        with self._printed.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        *whole, _ = text.split(b"\n")
        self._at += sum(len(line) + 1 for line in whole)
        self._lines += map(json.loads, whole)
        return self._lines

    @property
    def frames(self) -> dict[Run, list[tuple[int, str]]]:
        """Seqs and digests of each run, in the order in which they were read."""
        found = defaultdict[Run, list[tuple[int, str]]](list)
        for _, stream, run, _, seq, digest in self.of_type("audio"):
            found[stream, run].append((seq, digest))
        return found

    @property
    def committed(self) -> dict[Run, int]:
        """The highest seq of each run that it was told is committed."""
        return {(stream, run): seq for word, stream, run, seq in self.told("committed")}

    def told(self, word: str) -> list[list[Any]]:
        """Return its lines of one kind."""
        return [line for line in self.lines if line[0] == word]

    def of_type(self, kind: str) -> list[list[Any]]:
        """Return the events of a type."""
        return [line for line in self.told("got") if line[3] == kind]

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)

    def stop(self) -> int:
        """Ask it to leave, and return its exit status."""
        self.process.terminate()
        return self.process.wait(LIMIT_SECONDS)


def judge(
    streams: Sequence[SentStream], living: Sequence[KitReader], dead: Sequence[KitReader] = ()
) -> list[str]:
    """Return what is wrong.

    Each frame of each run is read by one worker; by a second one only if the first is dead and was
    not told that the frame is committed. No worker reads one twice or out of order.
    """
    wrong = []
    read = defaultdict[Run, dict[int, str]](dict)
    owners = defaultdict[tuple[str, str, int], int](int)
    for reader in [*living, *dead]:
        committed = reader.committed
        for (stream, run), frames in reader.frames.items():
            seqs = [seq for seq, _ in frames]
            if seqs != sorted(set(seqs)):
                wrong.append(f"{stream}: one worker read frames twice or out of order")
            read[stream, run].update(frames)
            sure = committed.get((stream, run), -1) if reader in dead else seqs[-1]
            for seq in seqs:
                owners[stream, run, seq] += seq <= sure
    wrong += [f"{stream} {seq}: {n} owners" for (stream, _, seq), n in owners.items() if n > 1]
    for call in streams:
        name = f"{call.tenant}/{call.name}"
        found = [frames for (of, _), frames in read.items() if of == name]
        sent = [{seq: it.hex() for seq, it in run.digests.items()} for run in call.runs]
        if len(found) != len(sent) or any(it not in found for it in sent):
            wrong.append(f"{name}: what was read is not what was sent")
    return wrong
