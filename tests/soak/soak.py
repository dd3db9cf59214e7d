"""A long soak: `make soak`, or with options `make soak SOAK="--frames 100000 --kills 5"`.

Exits 1 if one acknowledged frame is lost, stored twice, out of order or other than it was sent, a
run does not end exactly once, or too little went wrong for that to prove anything.
"""

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from soak_plan import Plan
from soak_run import soak

POLICIES = {"everysec": ["everysec"], "always": ["always"], "both": ["everysec", "always"]}
SEEDS = 2**32


def main() -> int:
    """Carry out a plan for each policy."""
    options = _options()
    print(f"seed {options.seed}", flush=True)
    is_clean = True
    with tempfile.TemporaryDirectory(prefix="rtaa-soak-") as folder:
        for fsync in POLICIES[options.fsync]:
            plan = Plan(
                seed=options.seed,
                frames=options.frames,
                kills=options.kills,
                fsync=fsync,
                senders=options.senders,
            )
            log = Path(folder) / f"{fsync}.log"
            outcome = soak(plan, log)
            print(outcome.line(), flush=True)
            if not outcome.is_clean:
                is_clean = False
                print(outcome.details(), "the service's last words:", sep="\n", flush=True)
                print("\n".join(log.read_text().splitlines()[-20:]), flush=True)
    return 0 if is_clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=50, help="of the broker, under each policy")
    parser.add_argument("--fsync", choices=POLICIES, default="both")
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(SEEDS))
    return parser.parse_args()


def _stop(number: int, frame: object) -> None:
    """Let a `kill` clean up, as a Ctrl-C does."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
