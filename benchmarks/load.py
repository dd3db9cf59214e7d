"""The loader, a process of its own: opens the calls, sends their frames, ends them.

It speaks with its parent over a pipe:

    loader → parent   `Opened()`                    every call has sent what comes before audio
    parent → loader   the instant to begin at, of the monotonic clock in ns (not for idle)
    loader → parent   `Spoken(...)`                 every frame is sent (only paced)
    parent → loader   anything: end the calls       (paced, idle)
    loader → parent   `Closed(...)`                 the server has closed every call

or, at any point, `Failed(why)`.
"""

import gc
import selectors
import signal
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.frames import Speech
from benchmarks.line import Line, LineFailed
from benchmarks.measure import Percentiles, percentiles
from benchmarks.plan import NS_PER_MS, Load, Mode
from benchmarks.workers import Failed

LIMIT_SECONDS = 120.0
"""How long the calls of one load may take to send, and to be closed."""

_CHUNK_BYTES = 131_072
"""What is written to one connection at a time when it is to be kept full."""

_LOOK_NS = NS_PER_MS
"""How often a paced loader looks for what the server says."""

_NAP_SECONDS = 0.000_3
"""The least that a paced loader sleeps: what falls due meanwhile is sent in one go."""


@dataclass(frozen=True, slots=True)
class Opened:
    """All calls are open."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """All frames are sent; how late after they were due, in ms, and how many TCP did not take."""

    late_ms: Percentiles
    held_up: int


@dataclass(frozen=True, slots=True)
class Closed:
    """All calls are closed; how often with which code, and how many messages were refused."""

    codes: dict[str, int]
    refusals: int


def run_loader(load: Load, port: int, pipe: Connection) -> None:
    """Carry out a load against a server on 127.0.0.1; what the loader's process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # nothing here goes in cycles, and looking for them makes frames late
    loader = _Loader(load, port)
    try:
        loader.open()
        pipe.send(Opened())
        if load.mode is not Mode.IDLE:
            begin_ns: int = pipe.recv()
            if load.mode is Mode.SATURATE:
                loader.saturate()
            else:
                pipe.send(loader.pace(begin_ns))
        if load.mode is not Mode.SATURATE:
            pipe.recv()
            loader.end()
        pipe.send(loader.await_closed())
    except (LineFailed, TimeoutError) as error:
        pipe.send(Failed(str(error)))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    finally:
        loader.hang_up()


class _Loader:
    def __init__(self, load: Load, port: int) -> None:
        self._load = load
        self._port = port
        self._speech = Speech(load.dialect, load.size, load.sample_rate_hz)
        self._streams = [self._speech.stream(call) for call in range(load.calls)]
        self._lines: list[Line] = []
        self._selector = selectors.DefaultSelector()
        self._open = 0
        self._behind: set[int] = set()

    def open(self) -> None:
        """Open all calls, one after the other."""
        for call in range(self._load.calls):
            line = Line(self._port)
            self._lines.append(line)
            self._selector.register(line.socket, selectors.EVENT_READ, call)
            self._open += 1
            line.write(self._speech.opening(call))

    def saturate(self) -> None:
        """Send every frame and the end of every call, as fast as the server reads."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        chunks = [self._chunks(call) for call in range(self._load.calls)]
        for call, line in enumerate(self._lines):
            self._selector.modify(line.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, call)
        speaking = len(chunks)
        while speaking:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the frames were not taken within {LIMIT_SECONDS:g} s")
            for key, events in self._selector.select(1.0):
                line = self._lines[key.data]
                if events & selectors.EVENT_READ:
                    self._hear(line)
                if events & selectors.EVENT_WRITE:
                    line.flush()
                    if not line.has_waiting:
                        chunk = next(chunks[key.data], None)
                        if chunk is not None:
                            line.write(chunk)
                        else:
                            speaking -= 1
                            self._selector.modify(line.socket, selectors.EVENT_READ, key.data)

    def pace(self, begin_ns: int) -> Spoken:
        """Send every frame when it is due, or as soon after as possible."""
        load, speech, streams, lines = self._load, self._speech, self._streams, self._lines
        late_ns = array("q")
        held_up = 0
        look_at = 0
        at, call, index = 0, 0, 0
        due = begin_ns
        while at < load.total:
            now = time.monotonic_ns()
            if due > now:
                if now >= look_at:
                    look_at = now + _LOOK_NS
                    self._look(0)
                time.sleep(max((due - now) / 1e9, _NAP_SECONDS))
                continue
            if now - due > LIMIT_SECONDS * 1e9:
                raise TimeoutError("the loader cannot keep the pace")
            line = lines[call]
            line.write(speech.frame(streams[call], call, index))
            if line.has_waiting:
                held_up += 1
                self._watch(call)
            late_ns.append(now - due)
            at += 1
            index, call = divmod(at, load.calls)
            due = begin_ns + load.due_ns(call, index)
        return Spoken(percentiles(late_ns, NS_PER_MS), held_up)

    def end(self) -> None:
        """Say of every call that it is over."""
        for call, line in enumerate(self._lines):
            line.write(self._speech.closing(call, self._load.frames))
            if line.has_waiting:
                self._watch(call)

    def await_closed(self) -> Closed:
        """Wait until the server has closed every call.

        Raises:
            TimeoutError: it did not.

        """
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while self._open:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{self._open} calls were not closed by the server")
            self._look(1.0)
        codes = Counter(str(line.code) for line in self._lines)
        return Closed(dict(codes), sum(line.refusals for line in self._lines))

    def hang_up(self) -> None:
        """Close every socket."""
        for line in self._lines:
            line.close()

    def _chunks(self, call: int) -> Iterator[bytes]:
        """Yield a call's frames, many at a time, and its end."""
        load, speech, stream = self._load, self._speech, self._streams[call]
        many = max(1, _CHUNK_BYTES // (load.size * 4 // 3))
        for first in range(0, load.frames, many):
            last = min(first + many, load.frames)
            yield b"".join(speech.frame(stream, call, index) for index in range(first, last))
        yield speech.closing(call, load.frames)

    def _watch(self, call: int) -> None:
        """Write on as soon as TCP takes more."""
        if call not in self._behind:
            self._behind.add(call)
            events = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(self._lines[call].socket, events, call)

    def _look(self, seconds: float) -> None:
        """Read what has come, and write on what waits."""
        for key, events in self._selector.select(seconds):
            line = self._lines[key.data]
            if events & selectors.EVENT_WRITE:
                line.flush()
                if not line.has_waiting:
                    self._behind.discard(key.data)
                    self._selector.modify(line.socket, selectors.EVENT_READ, key.data)
            if events & selectors.EVENT_READ:
                self._hear(line)

    def _hear(self, line: Line) -> None:
        line.read()
        if line.is_closed:
            self._selector.unregister(line.socket)
            self._open -= 1
