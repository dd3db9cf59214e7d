"""The kit takes the URLs that the service takes, and understands them as the service does."""

from typing import Any

import pytest
from broker_urls import URLS
from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from adapters.outbound.redis_streams.target import Kind, Target
from rtaa_reader.broker import Broker


def places(clients: Any) -> set[tuple[str, int]]:
    return {(it["host"], it.get("port", 6379)) for it in map(kwargs, clients)}


def kwargs(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.connection_pool.connection_kwargs
    return found


def has_tls(client: Any) -> bool:
    return "SSL" in client.connection_pool.connection_class.__name__


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_understood_as_by_the_service(url: str) -> None:
    target = Target.of(url)
    clients: Any = Broker(url)._clients
    client, *sentinels = clients
    seeds = {(it.host, it.port) for it in target.seeds}
    if target.kind is Kind.CLUSTER:
        assert isinstance(client, RedisCluster)
        assert {(it.host, it.port) for it in client.nodes_manager.startup_nodes.values()} == seeds
        server = client.connection_kwargs
        assert (server.get("ssl_cert_reqs") is not None) == (target.server.tls is not None)
    else:
        server = kwargs(client)
    assert server.get("username") == target.server.username
    assert server.get("password") == target.server.password
    assert int(server.get("db") or 0) == target.server.database
    if target.kind is Kind.SERVER:
        assert target.server.path or places([client]) == seeds
        assert server.get("path") == target.server.path
    if target.kind is Kind.SENTINEL:
        pool = client.connection_pool
        assert isinstance(pool, SentinelConnectionPool)
        assert pool.service_name == target.name
        is_tls = pool.connection_class is SentinelManagedSSLConnection
        assert is_tls == (target.server.tls is not None)
        assert places(sentinels) == seeds
        (seed, *_), found = target.seeds, sentinels[0]
        assert kwargs(found).get("username") == seed.username
        assert kwargs(found).get("password") == seed.password
        assert has_tls(found) == (seed.tls is not None)
