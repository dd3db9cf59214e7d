"""A worker of the Python kit that prints what `clients/node/test/worker.js` prints.

    python kit_lines.py URL WORKER LEASE_SECONDS

Lines of JSON, `[key, run, id, type, seq, data]`, audio in base64. A call that it comes to own
begins with `[key, "", id, "open", -1, fence]`: what an earlier owner printed after that id does
not count.
"""

import asyncio
import base64
import json
import signal
import sys
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from rtaa_reader import AsyncReader, Audio, Event, Gap, Options, Started
from rtaa_reader.broker import Broker

RETRY_SECONDS = 0.05


async def main(url: str, worker: str, lease_seconds: str) -> None:
    """Read until SIGTERM."""
    task, leases, broker = asyncio.current_task(), dict[str, str](), Broker(url)
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    options = Options(lease_seconds=float(lease_seconds))
    async with AsyncReader(url, "asr", worker, options) as reader:
        async for event in reader:
            key = f"rtaa:audio:{{{event.stream}}}"
            if leases.get(event.stream) != event.lease:
                leases[event.stream] = event.lease
                behind, fence = await lease_of(broker, event.stream)
                say(key, "", behind, "open", -1, fence)
            say(key, event.run, event.entry, event.type, event.seq, data_of(event))


async def lease_of(broker: Broker, stream: str) -> tuple[str, int]:
    """Return after which entry it is read, and its fence, as the broker has it."""
    while True:
        try:
            asked = "HMGET", f"rtaa:reader:asr:{{{stream}}}", "position", "fence"
            ((position, fence),) = await broker.ask([asked])
            return json.loads(position)[0], int(fence)
        except RedisError:
            await broker.disconnect()
            await asyncio.sleep(RETRY_SECONDS)


def data_of(event: Event) -> Any:
    """Return the audio in base64, or what an entry of another type tells this worker.

    What is published may tell more: of a gap, frames that were read before.
    """
    if isinstance(event, Audio):
        return base64.b64encode(event.audio).decode()
    if isinstance(event, Gap):
        return {it: getattr(event, it) for it in ("first_missing", "missing", "declared")}
    return {**event.data, "resumed": event.resumed} if isinstance(event, Started) else event.data


def say(*words: Any) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(asyncio.CancelledError):
        asyncio.run(main(*sys.argv[1:]))
