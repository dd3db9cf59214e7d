"""The contracts of the ports, held against a Redis Cluster of three.

One group of servers serves all tests: each trial has a prefix of its own.
"""

from collections.abc import Iterator

import pytest
from group_trial import GroupTrial
from valkey_cluster import ValkeyCluster

from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, Trial

pytestmark = pytest.mark.long(90)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as group:
        yield group


class TestRedisClusterStore(StreamStoreContract, ReaderContract, OpenRunsContract):
    @pytest.fixture
    def trial(self, cluster: ValkeyCluster) -> Trial:
        return GroupTrial(cluster)
