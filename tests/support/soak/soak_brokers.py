"""The kinds of broker that a soak can break."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from soak_broker import SoakBroker
from soak_cluster import ClusterSoak
from soak_jetstream import JetStreamSoak
from soak_sentinel import SentinelSoak
from soak_server import ServerSoak

SOAK_BROKERS: Final[Mapping[str, type[SoakBroker]]] = MappingProxyType(
    {
        "server": ServerSoak,
        "sentinel": SentinelSoak,
        "cluster": ClusterSoak,
        "jetstream": JetStreamSoak,
    }
)
