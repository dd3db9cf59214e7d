"""The contracts of the ports, held against Redis behind Sentinels.

One group of servers serves all tests: each trial has a prefix of its own.
"""

from collections.abc import Iterator

import pytest
from group_trial import GroupTrial
from valkey_node import NEVER_MS
from valkey_sentinel import SentinelGroup

from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial

pytestmark = pytest.mark.long(80)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelGroup]:
    """Longer than a test: a server that is away here is back later, and is not replaced."""
    with SentinelGroup(replicas=1, down_after_ms=NEVER_MS) as group:
        yield group


class TestRedisSentinelStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self, sentinels: SentinelGroup) -> Trial:
        """With REDIS_CONFIRM=replica: what holds with a replica to wait for holds without."""
        return GroupTrial(sentinels, confirm="replica")
