"""Waiting for a condition: never for luck, and never for ever."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from published import Broker, audio, facts

LIMIT_SECONDS = 30.0

Found = TypeVar("Found")


PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.1
"""Between two checks of a condition."""

PAUSE_PER_CHECK = 4
"""How much longer than a check the pause after it is: what is waited for needs the cores more."""


def wait_until(condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for a condition, which is checked often; fail when it does not come true."""
    until = time.monotonic() + seconds
    begun = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < until, "the condition did not come true in time"
        time.sleep(min(LONGEST_PAUSE_SECONDS, max(PAUSE_SECONDS, PAUSE_PER_CHECK * (now - begun))))
        begun = time.monotonic()


def wait_for(find: Callable[[], Found | None], seconds: float = LIMIT_SECONDS) -> Found:
    """Wait until something is found, which is looked for often; return it."""
    found: list[Found] = []

    def is_found() -> bool:
        it = find()
        found.extend([] if it is None else [it])
        return it is not None

    wait_until(is_found, seconds)
    return found[0]


async def until(condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for a condition that may block, beside the loop."""
    await asyncio.to_thread(wait_until, condition, seconds)


async def until_state(
    broker: Broker, name: str, state: str, seconds: float = LIMIT_SECONDS
) -> None:
    """Wait until the facts of a run say so."""
    await until(lambda: facts(broker, name).get("state") == state, seconds)


async def until_published(broker: Broker, name: str, count: int) -> None:
    """Wait until so many frames of a stream are published."""
    await until(lambda: len(audio(broker, name)) >= count)


def freeze_process(pid: int) -> None:
    """SIGSTOP a process, and wait until it has stopped: the kernel takes its time for a signal."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "TZ":
        time.sleep(0.001)
