"""Live calls, two workers of which one is killed, a broker that is killed twice and emptied once.

By hand, with more of everything:

    PYTHONPATH="$(printf '%s:' tests/support/*)clients/python/src" \\
        .venv/bin/python tests/support/readers/kit_trial.py CALLS FRAMES PACE_SECONDS
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from broker_lab import BrokerLab
from group_workers import workers
from history import SentStream
from kit_readers import KitReader, judge
from resuming_sender import ResumingSender
from running import service_process
from waiting import until

LEASE_SECONDS = 4.0
LIMIT_SECONDS = 120.0
FRAMES_BEFORE = 25
"""Of each call, read before anything fails."""


async def trial(
    folder: Path, calls: int, frames: int, pace: float, note: Callable[[str], None]
) -> list[str]:
    """Return what is wrong with what the workers have read."""
    with ExitStack() as stack:
        lab = stack.enter_context(BrokerLab(appendfsync="everysec"))
        variables = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": lab.url}
        more = {"SUPPORT_EXOTEL": "true", "LOG_LEVEL": "warning"}
        service = stack.enter_context(service_process({**variables, **more}, folder / "log"))
        one, two = readers = [KitReader(lab.url, folder, it, LEASE_SECONDS) for it in "ab"]
        for reader in readers:
            stack.callback(reader.kill)
        streams = [SentStream(f"call-{n}") for n in range(calls)]
        senders = [
            ResumingSender(service.url, pace=pace, limit_seconds=LIMIT_SECONDS) for _ in streams
        ]
        await until(lambda: workers(lab) == 2)
        begun = monotonic()

        def tell(what: str) -> None:
            sent = sum(len(run.digests) for stream in streams for run in stream.runs)
            read = [sum(map(len, reader.frames.values())) for reader in readers]
            note(f"{monotonic() - begun:5.1f} s  {what}: {sent} frames sent, {read} read")

        async with asyncio.TaskGroup() as group:
            for sender, stream in zip(senders, streams, strict=True):
                group.create_task(sender.call(stream, frames))
            await until(lambda: are_read(readers, calls, FRAMES_BEFORE), LIMIT_SECONDS)
            tell("all calls are read")
            await asyncio.to_thread(lab.kill_and_restart)
            tell("broker killed")
            await until_all_flow(readers, calls)
            tell("all calls flow")
            taken = set(one.frames)
            one.kill()
            tell(f"worker a killed, with {len(taken)} calls")
            await asyncio.to_thread(lab.kill_and_restart)
            tell("broker killed")
            await until(lambda: taken <= set(two.frames), LIMIT_SECONDS)
            tell("worker b has all calls")
            await asyncio.to_thread(lab.come_back_empty)
            tell("broker emptied")
            await until_all_flow([two], calls)
            tell("all calls flow")
        tell("all calls are sent")
        await until(
            lambda: len(one.of_type("ended")) + len(two.of_type("ended")) >= calls, LIMIT_SECONDS
        )
        assert two.stop() == 0, two.errors.read_text()
        tell("worker b stopped")
        note(f"lost by b: {len(two.told('lost'))}; read by both: {doubled(one, two)}")
        return judge(streams, [two], [one])


def are_read(readers: list[KitReader], calls: int, frames: int) -> bool:
    """Tell whether so many frames of each call are read."""
    counts = [len(found) for reader in readers for found in reader.frames.values()]
    return len(counts) == calls and min(counts) >= frames


async def until_all_flow(readers: list[KitReader], calls: int) -> None:
    """Wait until of each call one more frame is read than now, or its end."""

    def counts() -> dict[str, int]:
        found = dict[str, int]()
        for reader in readers:
            for word, stream, *_ in reader.told("got"):
                found[stream] = found.get(stream, 0) + (word == "got")
        return found

    def over() -> set[str]:
        return {line[1] for reader in readers for line in reader.of_type("ended")}

    before = counts()
    await until(
        lambda: len(over() | {it for it, n in counts().items() if n > before.get(it, 0)}) >= calls,
        LIMIT_SECONDS,
    )


def doubled(one: KitReader, two: KitReader) -> int:
    """Count the frames that both have read."""
    others = two.frames
    return sum(
        len({seq for seq, _ in frames} & {seq for seq, _ in others.get(run, [])})
        for run, frames in one.frames.items()
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        arguments = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
        wrong = asyncio.run(trial(Path(name), *arguments, lambda it: print(it, flush=True)))
        print(*wrong[:20], f"{len(wrong)} defects", sep="\n")
        sys.exit(bool(wrong))
