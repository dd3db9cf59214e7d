"""The observer, a process of its own: reads some calls as they are published, and tells how late.

Latency runs from the instant a frame was due at its sender until the observer has it from XREAD.
It speaks with its parent over a pipe: it is sent the instant the load begins, answers `Observed`.
"""

import selectors
import signal
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.broker import Broker
from benchmarks.frames import DIALECTS, Speech
from benchmarks.measure import Percentiles, percentiles
from benchmarks.plan import NS_PER_MS, Load
from benchmarks.published import Layout, entry

_FRAMES_A_SECOND = 800
"""About as many frames as are observed: the observer shares its core with broker and loader."""

_MIN_STEP = 5
"""One call of so many at most: reading costs the broker about as much as writing."""

_KEYS_A_CONNECTION = 8
"""A broker looks at every key that a reader waits for each time it wakes the reader."""

_GIVE_UP_SECONDS = 15.0
"""How long after the last frame was due it is waited for."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """When what had waited for a frozen broker came, the first and the last of it.

    In seconds after it was thawed.
    """

    first_seconds: float
    last_seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    """Latency in ms of the frames of some calls, and how many never came."""

    latency_ms: Percentiles
    missed: int
    recovery: Recovery | None


def sample(load: Load) -> Sequence[int]:
    """Return the calls that are observed: evenly spread over all, their phases with them."""
    wanted = max(1, _FRAMES_A_SECOND * load.interval_ms // 1_000)
    return range(0, load.calls, max(_MIN_STEP, load.calls // wanted))


class _Reader:
    """A connection that follows a few streams."""

    def __init__(self, url: str, calls: dict[bytes, int]) -> None:
        self.broker = Broker(url)
        self.calls = calls
        self._last = dict.fromkeys(calls, b"0")
        self.listen()

    def listen(self) -> None:
        self.broker.send("XREAD", "BLOCK", 0, "STREAMS", *self._last.keys(), *self._last.values())

    def take(self) -> list[tuple[int, Any]]:
        """Return call and fields of each entry that has come."""
        taken = []
        for key, entries in self.broker.receive():
            taken += [(self.calls[key], fields) for _, fields in entries]
            self._last[key] = entries[-1][0]
        return taken


def run_observer(load: Load, layout: Layout, url: str, pipe: Connection) -> None:
    """Follow the sampled calls until every frame has come; what the observer's process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    speech = Speech(load.dialect, load.size, load.sample_rate_hz)
    keys = {layout.key(speech, call).encode(): call for call in sample(load)}
    names = list(keys)
    selector = selectors.DefaultSelector()
    for first in range(0, len(names), _KEYS_A_CONNECTION):
        reader = _Reader(url, {key: keys[key] for key in names[first : first + _KEYS_A_CONNECTION]})
        selector.register(reader.broker.socket, selectors.EVENT_READ, reader)
    try:
        begin_ns: int = pipe.recv()
    except EOFError:
        return  # the parent is gone
    pipe.send(_follow(selector, load, begin_ns, len(names) * load.frames))


def _follow(selector: selectors.BaseSelector, load: Load, begin_ns: int, expected: int) -> Observed:
    first_seq = DIALECTS[load.dialect].first_seq
    give_up_at = begin_ns + int((load.seconds + _GIVE_UP_SECONDS) * 1e9)
    latency_ns = array("q")
    late_at_ns = array("q")
    freeze = load.freeze
    while len(latency_ns) < expected and (now := time.monotonic_ns()) < give_up_at:
        for key, _ in selector.select((give_up_at - now) / 1e9):
            reader: _Reader = key.data
            taken = reader.take()
            now = time.monotonic_ns()
            for call, fields in taken:
                published = entry(fields)
                if published.kind == b"audio":
                    due_ns = load.due_ns(call, published.seq - first_seq)
                    latency_ns.append(now - begin_ns - due_ns)
                    if freeze and due_ns < freeze.end_ns <= now - begin_ns:
                        late_at_ns.append(now - begin_ns - freeze.end_ns)
            reader.listen()
    recovery = Recovery(min(late_at_ns) / 1e9, max(late_at_ns) / 1e9) if late_at_ns else None
    return Observed(percentiles(latency_ns, NS_PER_MS), expected - len(latency_ns), recovery)
