"""Contract tests for adapters: inherit a contract, and implement its fixture `trial`.

See docs/extending/store.md.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"application.testing.{module}"
        for module in (
            "observed",
            "open_runs_contract",
            "reader_contract",
            "store_appends",
            "killed_process",
            "store_durability",
            "store_killed",
            "store_losses",
            "store_machine",
            "store_streams",
            "store_waiting",
        )
    )
)

from application.testing.open_runs_contract import OpenRunsContract  # noqa: E402
from application.testing.reader_contract import ReaderContract  # noqa: E402
from application.testing.store_contract import StreamStoreContract  # noqa: E402
from application.testing.trial import Trial  # noqa: E402

__all__ = ["OpenRunsContract", "ReaderContract", "StreamStoreContract", "Trial"]
