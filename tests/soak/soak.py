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

FRAMES_A_SERVICE = 2_000
"""How much is sent between two kills of the service."""


def main() -> int:
    """Carry out a plan for each policy, and one in which the service is killed."""
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
            is_clean = _carry_out(plan, log) and is_clean
        if options.service_kills:
            plan = Plan(
                seed=options.seed,
                frames=options.service_kills * FRAMES_A_SERVICE,
                kills=0,
                fsync="always",
                senders=options.senders,
                service_kills=options.service_kills,
            )
            is_clean = _carry_out(plan, Path(folder) / "killed.log") and is_clean
    return 0 if is_clean else 1


def _carry_out(plan: Plan, log: Path) -> bool:
    outcome = soak(plan, log)
    print(outcome.line(), flush=True)
    if not outcome.is_clean:
        print(outcome.details(), "the service's last words:", sep="\n", flush=True)
        print("\n".join(log.read_text().splitlines()[-20:]), flush=True)
    return outcome.is_clean


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=50, help="of the broker, under each policy")
    parser.add_argument("--fsync", choices=POLICIES, default="both")
    parser.add_argument(
        "--service-kills", type=int, default=200, help="of the service, with a broker that is well"
    )
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(SEEDS))
    return parser.parse_args()


def _stop(number: int, frame: object) -> None:
    """Let a `kill` clean up, as a Ctrl-C does."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
