"""A plugin of pytest for `make mutate`: the quick tests of a mutant run before the slow ones.

mutmut measures each test once, and stops at the first that fails: mostly a quick one does.
"""

import json
from pathlib import Path

import pytest

MEASURED = Path("mutmut-stats.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the time that a test took; those that were not measured come first."""
    if MEASURED.exists():
        seconds = json.loads(MEASURED.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))
