"""A long soak: `make soak`, or with options `make soak SOAK="--broker cluster --failovers 20"`.

Exits 1 if one acknowledged frame is lost, stored twice, out of order or other than it was sent, a
run does not end exactly once, or too little went wrong for that to prove anything.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from soak_brokers import SOAK_BROKERS
from soak_plan import Plan
from soak_run import soak

POLICIES = {"everysec": ["everysec"], "always": ["always"], "both": ["everysec", "always"]}
SEEDS = 2**32

FRAMES = 1_000_000
FRAMES_A_SERVICE = 2_000
FRAMES_A_FAULT = 20_000
"""How much is sent by default to a single server, between two kills of the service, and between
two faults of a group: enough to judge what was sent before."""

FRAME_SECONDS = 0.003
"""What a frame lasts. To a group is sent as fast as that: its servers share the machine, and are
not to be taken for dead because they are busy."""


def main() -> int:
    """Carry out all plans."""
    options = _options()
    print(f"seed {options.seed}", flush=True)
    is_clean = True
    with tempfile.TemporaryDirectory(prefix="rtaa-soak-") as folder:
        logs = options.logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        for number, plan in enumerate(_plans(options)):
            is_clean = _carry_out(plan, options.broker, logs / f"{number}.log") and is_clean
    return 0 if is_clean else 1


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Draw up a plan for each policy and, for a server, one in which the service is killed."""
    common = {"seed": options.seed, "senders": options.senders, "confirm": options.confirm}
    policies = ["always"] if options.confirm == "disk" else POLICIES[options.fsync]
    if options.broker == "jetstream":
        policies = [""]
    if options.broker != "server":
        moves = options.moves if options.broker == "cluster" else 0
        frames = options.frames or FRAMES_A_FAULT * (options.failovers + moves)
        for fsync in policies:
            yield Plan(
                **common,
                frames=frames,
                failovers=options.failovers,
                moves=moves,
                fsync=fsync,
                pace=FRAME_SECONDS,
            )
        return
    for fsync in policies:
        yield Plan(**common, frames=options.frames or FRAMES, kills=options.kills, fsync=fsync)
    if options.service_kills:
        yield Plan(
            **common,
            frames=options.service_kills * FRAMES_A_SERVICE,
            fsync="always",
            service_kills=options.service_kills,
        )


def _carry_out(plan: Plan, broker: str, log: Path) -> bool:
    outcome = soak(plan, SOAK_BROKERS[broker], log)
    print(f"{broker}, {outcome.line()}", flush=True)
    if not outcome.is_clean:
        print(outcome.details(), "the end of the service's log:", sep="\n", flush=True)
        print("\n".join(log.read_text().splitlines()[-20:]), flush=True)
    return outcome.is_clean


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=SOAK_BROKERS, default="server")
    parser.add_argument("--frames", type=int, default=0, help="at least, of each plan")
    parser.add_argument("--kills", type=int, default=50, help="of a server, under each policy")
    parser.add_argument("--failovers", type=int, default=14, help="of a group")
    parser.add_argument("--moves", type=int, default=12, help="of slots of a cluster")
    parser.add_argument("--fsync", choices=POLICIES, help="both for a server, else everysec")
    parser.add_argument(
        "--confirm", choices=("memory", "disk", "replica"), default="memory", help="REDIS_CONFIRM"
    )
    parser.add_argument(
        "--service-kills", type=int, default=200, help="of the service, with a server that is well"
    )
    parser.add_argument("--logs", type=Path, help="folder for what the service logs")
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(SEEDS))
    options = parser.parse_args()
    if options.broker == "jetstream" and (options.fsync or options.confirm != "memory"):
        parser.error("--fsync and --confirm are of Redis")
    options.fsync = options.fsync or ("both" if options.broker == "server" else "everysec")
    if options.broker == "server" and options.confirm == "replica":
        parser.error("a single server has no replica")
    return options


def _stop(number: int, frame: object) -> None:
    """Let a `kill` clean up, as a Ctrl-C does."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
