"""What the soaks in short share."""

import os

from soak_run import Outcome

SEED = int(os.environ.get("SOAK_SEED", "20261122"))
FRAME_SECONDS = 0.003


def told(outcome: Outcome) -> str:
    """Tell all of an outcome, and how it is had again."""
    return f"seed {SEED}\n{outcome.line()}\n{outcome.details()}"
