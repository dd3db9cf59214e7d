"""The asserts of all tests are rewritten once in all: each worker begins with its share.

Every worker collects every test. In a fresh clone each would rewrite every module itself, at the
same time as the others. What one has written the others read.
"""

import os
import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).parents[2]


def pytest_collection(session: pytest.Session) -> None:
    """Rewrite this worker's share, unless bytecode is not written or has been."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker or sys.dont_write_bytecode:
        return
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    state = session.config.stash[rewrite.assertstate_key]
    asked = [Path(it.partition("::")[0]).absolute() for it in session.config.args]
    sources = [
        source
        for source in sorted(TESTS.glob("*/test_*.py"))
        if any(source.is_relative_to(it) for it in asked)
    ]
    for source in sources[int(worker) :: count]:
        folder = rewrite.get_cache_dir(source)
        compiled = folder / (source.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(source, compiled) is None and rewrite.try_makedirs(folder):
            source_hash, code = rewrite._rewrite_test(source, session.config)
            rewrite._write_pyc(state, code, source_hash, compiled)
