"""What the safe append costs beside plain XADDs: `python -m benchmarks.appends [ROUNDS]`.

The safe append is one script for each stream and batch, which compares the revision of the head and
writes. The plain one is an XADD with an explicit id for each frame, which a refusal in the middle
leaves with a hole. CPU in microseconds a frame, of this process (which makes the frames,
too) and of the broker; 200 streams over one pipelined connection, to the embedded broker. The
median of some rounds in turn.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.resp import Command
from application.ports.destination import DestinationOptions
from application.ports.store import APPENDED, Append
from benchmarks.measure import cpu_seconds
from domain.account import Account
from domain.events import Opening
from domain.fold import Segment
from domain.head import Access, Head
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat
from domain.starting import Begin, StartRequest, start

STREAMS = 200
FRAMES = 40_000
SMALL_BYTES = 1_000
MEDIA = MediaFormat(24_000)

Way = Callable[[str, int, bytes, int], Awaitable[None]]
"""Writes to a broker: its URL, frames a batch, the audio of each, batches of each stream."""


def _opening(number: int) -> Opening:
    stream = StreamKey(TenantId("tenant"), StreamId(f"call-{number}"))
    return Opening(stream, InteractionId(stream.stream_id), "bench", MEDIA, 0)


def _xadd(key: str, at: int, audio: bytes) -> Command:
    head = ("XADD", key, f"1-{at}", "type", "audio", "seq", at)
    return (*head, "received_at_ms", 1_700_000_000_000, "audio", audio)


async def _plain(url: str, frames: int, audio: bytes, rounds: int) -> None:
    connection = connection_to(Address.of(url))
    for turn in range(rounds):
        commands: list[Command] = [
            _xadd(f"plain:{number}", at, audio)
            for number in range(STREAMS)
            for at in range(1 + turn * frames, 1 + (turn + 1) * frames)
        ]
        await connection.run(commands)
    await connection.close()


def _begin(opening: Opening, begun: Begin, revision: str) -> Append:
    head = Head(revision, begun.lease, begun.begun_at, begun.run, begun.account)
    return Append(opening.stream, None, begun.segments, head)


def _continue(begun: Begin, before: Append, first: int, frames: int, audio: bytes) -> Append:
    entries = [
        AudioFrame(MEDIA, at, 1_700_000_000_000, audio) for at in range(first, first + frames)
    ]
    end = first + frames
    published = end - 1
    account = Account(end, 1, published, Ledger(received=published, published=published))
    head = Head(f"owner:{end}", begun.lease, begun.begun_at, begun.run, account)
    segment = Segment(begun.run, begun.lease.generation, entries, account)
    return Append(before.stream, before.head.revision, (segment,), head)


async def _safe(url: str, frames: int, audio: bytes, rounds: int) -> None:
    destination = RedisDestination(DestinationOptions(), url)
    openings = [_opening(number) for number in range(STREAMS)]
    begun: list[Begin] = []
    for opening in openings:
        decision = start(None, StartRequest(opening, "owner", Access.OPEN), 0)
        if not isinstance(decision, Begin):
            raise TypeError("nothing is there yet")
        begun.append(decision)
    appends = [_begin(*it, "owner:0") for it in zip(openings, begun, strict=True)]
    outcomes = list(await destination.store.append(appends))
    for turn in range(rounds):
        appends = [
            _continue(of_stream, before, 1 + turn * frames, frames, audio)
            for of_stream, before in zip(begun, appends, strict=True)
        ]
        outcomes += await destination.store.append(appends)
    if any(outcome is not APPENDED for outcome in outcomes):
        raise TypeError("nothing else writes these streams")
    await destination.close()


async def _measure(way: Way, frames: int, size: int) -> tuple[float, float]:
    rounds = max(1, (FRAMES if size < SMALL_BYTES else FRAMES // 8) // STREAMS // frames)
    with EmbeddedValkey() as valkey:
        before, ours = cpu_seconds(valkey.pid) or 0.0, time.process_time()
        await way(valkey.url, frames, bytes(size), rounds)
        total = rounds * frames * STREAMS / 1e6
        ours, broker = time.process_time() - ours, (cpu_seconds(valkey.pid) or 0.0) - before
        return ours / total, broker / total


def _median(measured: Sequence[tuple[float, float]]) -> str:
    here, there = (statistics.median(column) for column in zip(*measured, strict=True))
    return f"{here:6.1f} / {there:5.1f}"


async def _main(turns: int) -> None:
    ways = (_plain, _safe)
    print("frames a batch | bytes | XADD: here / broker | safe append   (us a frame)")
    for size in (320, 9_600):
        for frames in (1, 2, 5, 10):
            measured: list[list[tuple[float, float]]] = [[] for _ in ways]
            for _ in range(turns):
                for found, way in zip(measured, ways, strict=True):
                    found.append(await _measure(way, frames, size))
            cells = " | ".join(map(_median, measured))
            print(f"{frames:14} | {size:5} | {cells}", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
