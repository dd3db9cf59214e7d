"""A worker of the readers' kit as a process: python kit_worker.py URL WORKER LEASE_SECONDS.

Prints lines of JSON: `["got", stream, run, type, seq, digest]` for each event, and once the broker
has confirmed it, `["committed", stream, run, seq]`. It commits every tenth frame of a stream, and
what is no frame.
"""

import json
import logging
import signal
import sys
from collections import Counter

from history import digest

from rtaa_reader import Audio, Options, Reader

COMMIT_FRAMES = 10


def main(url: str, worker: str, lease_seconds: str) -> None:
    """Read until SIGTERM."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    uncommitted = Counter[str]()
    options = Options(
        lease_seconds=float(lease_seconds),
        autocommit=False,
        on_lost=lambda stream: say("lost", stream),
    )
    with Reader(url, "asr", worker, options) as reader:
        for event in reader:
            audio = event.audio if isinstance(event, Audio) else b""
            say("got", event.stream, event.run, event.type, event.seq, digest(audio).hex())
            uncommitted[event.stream] += 1
            if not audio or uncommitted[event.stream] >= COMMIT_FRAMES:
                del uncommitted[event.stream]
                if reader.commit(event):
                    say("committed", event.stream, event.run, event.seq)


def say(*words: str | int) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
