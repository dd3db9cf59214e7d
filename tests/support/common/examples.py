"""How many examples a property is tried with: as many as it says, or more in a soak."""

import os

FACTOR = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 1


def examples(number: int) -> int:
    """Return `number`, times the factor of the profile."""
    return number * FACTOR
