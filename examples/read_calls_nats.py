"""Follow calls, one process under one NAME: python read_calls_nats.py nats://HOST:PORT,… NAME."""

import asyncio
import json
import sys
from base64 import b64encode
from contextlib import suppress

import nats
from nats.js.api import ConsumerConfig


async def events(url, name, subject="rtaa.audio.*.*.*", stream="rtaa-audio"):
    servers = [f"nats://{host}" for host in url.replace("nats://", "").split(",")]
    broker = (await nats.connect(servers, max_reconnect_attempts=-1)).jetstream()
    reader, highest, first = None, {}, 1
    while True:
        try:
            if reader is None:  # continue after what was acknowledged, in order
                with suppress(nats.js.errors.NotFoundError):
                    first = (await broker.consumer_info(stream, name)).ack_floor.stream_seq + 1
                    await broker.delete_consumer(stream, name)
                start = {"deliver_policy": "by_start_sequence", "opt_start_seq": first}
                config = ConsumerConfig(ack_policy="all", **start)
                reader = await broker.pull_subscribe(subject, name, stream, config)
            with suppress(nats.errors.TimeoutError):
                messages = await reader.fetch(100, timeout=1)
                for message in messages:
                    for event in entries(message.subject, message.data, highest):
                        yield event
                await messages[-1].ack()  # and all before it
            highest = dict(list(highest.items())[-10_000:])  # runs end, and may yet come again
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as problem:
            print(repr(problem), file=sys.stderr)
            reader, first = None, 1
            await asyncio.sleep(0.5)


def entries(subject, message, highest):
    """Yield the entries of a message, without frames that the server got a second time."""
    line, _, rest = message.partition(b"\n")
    told, key = json.loads(line), "/".join(subject.split(".")[2:4]).replace("%2E", ".")
    run = told.get("run")
    for entry in told["entries"]:
        kind, data, rest = entry["type"], rest[: entry["bytes"]], rest[entry["bytes"] :]
        data = data if kind == "audio" else json.loads(data)
        run = data["run"] if kind == "started" else run
        before = highest.get((key, run), -1)
        seq = data["first_missing"] + data["missing"] - 1 if kind == "gap" else entry.get("seq")
        if seq is None or seq > before:
            highest[key, run] = seq = before if seq is None else seq
            yield key, run, entry["id"], kind, seq, data


async def main():
    async for event in events(*sys.argv[1:]):
        print(json.dumps(event, default=lambda audio: b64encode(audio).decode()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
