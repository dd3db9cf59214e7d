"""How many examples a property is tried with: as many as it says, or as the profile wants."""

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "desk")
FACTOR = {"desk": 0.5, "mutate": 0.2, "soak": 20}.get(PROFILE, 1)


def examples(number: int, **by_profile: int) -> int:
    """Return what is named for the profile; else `number`, times the factor of the profile."""
    return by_profile.get(PROFILE, int(number * FACTOR))
