"""How many examples a property is tried with: as many as it says, or as the profile wants."""

import os

FACTOR = {"mutate": 0.2, "soak": 20}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 1)


def examples(number: int) -> int:
    """Return `number`, times the factor of the profile."""
    return int(number * FACTOR)
