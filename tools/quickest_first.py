"""A plugin of pytest for `make mutate`: the tests of a mutant in the order in which they cost least.

mutmut measures each test once, and stops at the first that fails: mostly a quick one does, and
mostly one that noticed another mutant of the same function. A mutant that does not end is stopped
at the first test that takes far longer than it was measured.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

MEASURED = Path("mutmut-stats.json")
NOTICED = Path("noticed.txt")
"""A line for each mutant that a test noticed: its function and the test."""

OVERHEAD = 0.005
"""About what pytest needs for any test, in seconds."""
GRACE, FACTOR = 15, 15
"""A test is stopped after so many seconds, and so many times as long as it was measured."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the time that a test took, less if it noticed much; not measured ones come first."""
    mutant = _function()
    if mutant is None or not MEASURED.exists():
        return
    seconds = json.loads(MEASURED.read_text(encoding="utf-8"))["duration_by_test"]
    lines = NOTICED.read_text(encoding="utf-8").splitlines() if NOTICED.exists() else []
    noticed = [line.split(" ", 1) for line in lines]
    of_function = Counter(test for function, test in noticed if function == mutant)
    module = mutant.rpartition(".")[0]
    of_module = Counter(test for function, test in noticed if function.startswith(f"{module}."))

    def cost(item: pytest.Item) -> float:
        found = 1 + 10 * of_function[item.nodeid] + of_module[item.nodeid]
        return (OVERHEAD + float(seconds.get(item.nodeid, 0))) / found

    items.sort(key=cost)
    for item in items:
        allowed = GRACE + FACTOR * seconds.get(item.nodeid, 0)
        item.add_marker(pytest.mark.timeout(allowed))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which test noticed the mutant."""
    mutant = _function()
    if report.failed and mutant is not None:
        with NOTICED.open("a", encoding="utf-8") as file:
            file.write(f"{mutant} {report.nodeid}\n")


def _function() -> str | None:
    """Return the mutated function, or None if no mutant is tried."""
    function, mark, _ = os.environ.get("MUTANT_UNDER_TEST", "").rpartition("__mutmut_")
    return function if mark else None
