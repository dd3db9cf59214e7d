"""What the safe append costs beside plain XADDs: `python -m benchmarks.appends`.

The safe append is one script for each stream and batch (contiguity, fencing, account, trimming,
expiry of both keys); the plain one an XADD with an explicit id for each frame, which a refusal in
the middle leaves with a hole. CPU in microseconds a frame, of this process (which makes the frames,
too) and of the broker; 200 streams over one pipelined connection, to the embedded broker.
"""

import asyncio
import time
from collections.abc import Sequence

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.resp import Command
from application.ports.destination import DestinationOptions
from application.ports.publisher import Batch, Lease
from benchmarks.measure import cpu_seconds
from domain.account import Account, Grant
from domain.events import AudioAccepted, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

STREAMS = 200
FRAMES = 40_000
SMALL_BYTES = 1_000
MEDIA = MediaFormat(24_000)


def _opening(number: int) -> Opening:
    stream = StreamKey(TenantId("tenant"), StreamId(f"call-{number}"))
    return Opening(stream, InteractionId(stream.stream_id), "bench", MEDIA, 0)


def _batch(opening: Opening, generation: int, first: int, frames: int, audio: bytes) -> Batch:
    events = [
        AudioAccepted(at, AudioFrame(MEDIA, at, 1_700_000_000_000, audio))
        for at in range(first, first + frames)
    ]
    end = first + frames
    published = end - 1
    account = Account(end, 1, published, Ledger(received=published, published=published))
    lease = Lease(opening.stream, generation, "owner")
    return Batch(lease, opening.interaction_id, first, events, account)


async def _safe(url: str, frames: int, audio: bytes, rounds: int) -> None:
    destination = RedisDestination(DestinationOptions(), url)
    openings = [_opening(number) for number in range(STREAMS)]
    generations = []
    for opening in openings:
        grant = await destination.publisher.begin(opening, owner="owner", has_token=False)
        if not isinstance(grant, Grant):
            raise TypeError("nobody else begins these streams")
        generations.append(grant.generation)
    for turn in range(rounds):
        first = 1 + turn * frames
        batches = [
            _batch(opening, generation, first, frames, audio)
            for opening, generation in zip(openings, generations, strict=True)
        ]
        await destination.publisher.append(batches)
    await destination.close()


def _xadd(key: str, at: int, audio: bytes) -> Command:
    head = ("XADD", key, f"1-{at}", "type", "audio", "seq", at)
    return (*head, "received_at_ms", 1_700_000_000_000, "audio", audio)


async def _plain(url: str, frames: int, audio: bytes, rounds: int) -> None:
    connection = Connection(Address.of(url))
    for turn in range(rounds):
        commands: list[Command] = [
            _xadd(f"plain:{number}", at, audio)
            for number in range(STREAMS)
            for at in range(1 + turn * frames, 1 + (turn + 1) * frames)
        ]
        await connection.run(commands)
    await connection.close()


async def _measure(frames: int, size: int, *, is_safe: bool) -> Sequence[float]:
    rounds = max(1, (FRAMES if size < SMALL_BYTES else FRAMES // 8) // STREAMS // frames)
    with EmbeddedValkey() as valkey:
        before, ours = cpu_seconds(valkey.pid) or 0.0, time.process_time()
        await (_safe if is_safe else _plain)(valkey.url, frames, bytes(size), rounds)
        total = rounds * frames * STREAMS / 1e6
        ours, broker = time.process_time() - ours, (cpu_seconds(valkey.pid) or 0.0) - before
        return ours / total, broker / total


async def _main() -> None:
    print("frames a batch | bytes | XADD: here / broker | script: here / broker   (us a frame)")
    for size in (320, 9_600):
        for frames in (1, 2, 5, 10):
            plain = await _measure(frames, size, is_safe=False)
            safe = await _measure(frames, size, is_safe=True)
            cells = " | ".join(f"{here:6.1f} / {there:5.1f}" for here, there in (plain, safe))
            print(f"{frames:14} | {size:5} | {cells}", flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
