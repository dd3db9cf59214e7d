"""`rtaa-ingest` run as a user runs it, to its end."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ports import quiet_port
from warm_start import can_be_warm, run_warm

OPEN = {"PUBSUB_ADAPTER": "redis_streams", "SUPPORT_EXOTEL": "true"}


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run `rtaa-ingest` with only the given variables beside the machine's own.

    Its port is a free one, unless that is given: `check` tries it.
    """
    ours = ("PUBSUB", "REDIS", "NATS", "EXOTEL", "SUPPORT", "JWT", "OTEL")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    variables = {**clean, "COLUMNS": "200", "PORT": str(quiet_port()), **(env or {})}
    if stdout == subprocess.PIPE and can_be_warm(variables):
        return run_warm(arguments, variables, cwd)
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.program", *arguments],
        env=variables,
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
