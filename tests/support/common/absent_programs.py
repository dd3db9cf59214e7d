"""Tests that need a program beside Python say so when it is absent; `TEST_PROGRAMS` forbids it.

TEST_PROGRAMS="nginx prometheus" make test     # the run fails where one of these is absent
"""

import os
from collections import Counter
from typing import Any

import pytest

ABSENT = "not installed"
"""What the reason of such a skip has in it, after the name of the program."""

REQUIRED = os.environ.get("TEST_PROGRAMS", "").split()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a required program is absent; with workers, where their reports come in."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and any(
        name in reason for reason in _absent(reporter) for name in REQUIRED
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in the last lines which programs are absent, and how many tests were not run."""
    for reason, tests in sorted(_absent(terminalreporter).items()):
        terminalreporter.write_line(f"{tests} tests not run: {reason}")


def _absent(reporter: Any) -> Counter[str]:
    """Count the skipped tests by the reason, of those that lacked a program."""
    reasons = (
        str(report.longrepr[-1]).removeprefix("Skipped: ")
        for report in reporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    return Counter(reason for reason in reasons if ABSENT in reason)
