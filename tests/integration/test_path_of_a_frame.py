"""The path of a frame, as ARCHITECTURE.md lists it: followed in a service that runs."""

import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from running import LIMIT_SECONDS, Caller, Service

from adapters.inbound.websocket.websocket_guard import WebSocketGuard
from adapters.outbound.redis_streams.connection import RespProtocol

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

FRAMES_BEFORE = 20
"""A path is followed once the start is over, and all that is made once is made."""

NOT_OF_THE_PATH = {
    "adapters/inbound/websocket/socket_reads.py": "counts the frames of a turn",
    "adapters/inbound/websocket/frame_rules.py": "has the sizes of a frame's header",
    "adapters/inbound/websocket/replies.py": "says whether replies wait",
    "adapters/outbound/prometheus/telemetry.py": "counts",
    "adapters/outbound/system_clock.py": "tells the time",
    "adapters/outbound/redis_streams/heads.py": "writes the ledger",
    "application/delivery/byte_budget.py": "counts bytes",
    "application/delivery/doubts.py": "numbers a doubt",
    "application/delivery/lane.py": "wakes the sender",
    "application/delivery/log_progress.py": "says whether there is room",
    "application/delivery/trimming.py": "tells what is old",
    "application/time_limit.py": "limits a wait",
    "domain/ledger.py": "counts",
    "entrypoints/event_loop.py": "turns",
}
"""The files that are entered meanwhile, and do not have the frame."""


class Follower:
    """Notes which functions of the service one read of a socket calls, up to the next write.

    It is told of each call in the thread of the service.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.is_over = threading.Event()
        self._is_due = False

    def begin(self) -> None:
        self._is_due = True

    def on_read(self) -> None:
        if self._is_due:
            self._is_due = False
            sys.setprofile(self._note)

    def on_write(self) -> None:
        if sys.getprofile() is not None:
            sys.setprofile(None)
            self.is_over.set()

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(SRC):
            self.files.append(path.relative_to(SRC).as_posix())


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> Follower:
    follower = Follower()
    read, run = WebSocketGuard.buffer_updated, RespProtocol.run

    def noted_read(guard: WebSocketGuard, nbytes: int) -> None:
        follower.on_read()
        read(guard, nbytes)

    async def noted_run(protocol: RespProtocol, commands: Any) -> Any:
        follower.on_write()
        return await run(protocol, commands)

    monkeypatch.setattr(WebSocketGuard, "buffer_updated", noted_read)
    monkeypatch.setattr(RespProtocol, "run", noted_run)
    return follower


def documented() -> Sequence[str]:
    """Return the files of the table in ARCHITECTURE.md, in order."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("## The path of a frame\n")[2].partition("\n## ")[0]
    paths, folder = [], ""
    for path in re.findall(r"^\| `([^`]+\.py)` \|", section, re.MULTILINE):
        folder, name = path.rpartition("/")[::2] if "/" in path else (folder, path)
        paths.append(f"{folder}/{name}")
    return paths


async def test_a_frame_enters_the_files_that_are_documented_in_this_order(
    start_service: Callable[..., Service], follower: Follower, name: str
) -> None:
    service = start_service(ACK_INTERVAL="1")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    for seq in range(FRAMES_BEFORE):
        await caller.speak(seq)
        await caller.hear_ack(seq)
    follower.begin()
    await caller.speak(FRAMES_BEFORE)
    assert follower.is_over.wait(LIMIT_SECONDS)
    assert set(follower.files) == {*documented(), *NOT_OF_THE_PATH}
    entered = iter(follower.files)
    assert all(path in entered for path in documented()), "another order"
