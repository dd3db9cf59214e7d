"""A broker that answers, and refuses: each context lasts as long as the refusal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from broker_lab import BrokerLab
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import wait_until


@contextmanager
def out_of_memory(lab: BrokerLab) -> Iterator[None]:
    """OOM to every write that may grow."""
    with _setting(lab, "maxmemory", "1", "0"):
        yield


@contextmanager
def without_replicas(lab: BrokerLab) -> Iterator[None]:
    """NOREPLICAS to every write."""
    with _setting(lab, "min-replicas-to-write", "1", "0"):
        yield


@contextmanager
def read_only(lab: BrokerLab) -> Iterator[None]:
    """READONLY to every write, as after a failover: a replica whose primary is not there."""
    with lab.client() as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def unable_to_save(lab: BrokerLab) -> Iterator[None]:
    """MISCONF to every write and to PING, as with a full disk: the snapshot cannot be saved."""
    in_the_way = lab.data / "dump.rdb"
    in_the_way.mkdir()
    with lab.client() as client:
        client.config_set("save", "3600 1000000")
        client.bgsave()
        wait_until(lambda: _persistence(client)["rdb_last_bgsave_status"] == "err")
        try:
            yield
        finally:
            in_the_way.rmdir()
            client.config_set("save", "")


@contextmanager
def password(lab: BrokerLab, secret: str) -> Iterator[None]:
    """Ask everybody for another password: NOAUTH to who shows none, WRONGPASS to a wrong one.

    Connections are cut, or those that are in would stay in. To try a rotation, nest two of these.
    """
    before = lab._password
    _ask_for(lab, secret)
    try:
        yield
    finally:
        _ask_for(lab, before)


def _ask_for(lab: BrokerLab, secret: str) -> None:
    with lab.client() as client:
        client.config_set("requirepass", secret)
        lab._password = secret
        _command(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@contextmanager
def without_permission(lab: BrokerLab, command: str) -> Iterator[None]:
    """NOPERM to one command, for example `evalsha`; inside a script it is an ACL failure."""
    with lab.client() as client:
        _command(client, "ACL", "SETUSER", "default", f"-{command}")
        try:
            yield
        finally:
            _command(client, "ACL", "SETUSER", "default", f"+{command}")


@contextmanager
def cluster_down(lab: BrokerLab) -> Iterator[None]:
    """CLUSTERDOWN to every key, for a lab with `cluster-enabled` yes and `join_slots` called.

    It takes 5 s to come back: a node of a cluster is in no hurry to call the cluster whole.
    """
    with lab.client() as client:
        _command(client, "CLUSTER", "DELSLOTSRANGE", 0, 16383)
    try:
        yield
    finally:
        join_slots(lab)


def join_slots(lab: BrokerLab) -> None:
    """Make a cluster of one node of it."""
    with lab.client() as client:
        _command(client, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in _cluster_info(client))


@contextmanager
def loading(lab: BrokerLab, seconds: float) -> Iterator[None]:
    """Kill and restart it so that it answers LOADING for about `seconds`; it needs some keys.

    The end of the context waits until it is loaded, which must be within 10 s.
    """
    with lab.client() as client:
        client.config_set("rdbcompression", "no")  # it answers once for each KiB that it loads
        client.bgrewriteaof()  # keys of a snapshot are loaded one by one, and can be slowed down
        wait_until(
            lambda: (
                not {"1", 1}.intersection(
                    _persistence(client)[f"aof_rewrite_{it}"] for it in ("scheduled", "in_progress")
                )
            )
        )
        keys: Any = client.dbsize()
    lab.kill()
    slowly = {
        "key-load-delay": str(round(seconds * 1_000_000 / max(1, keys))),
        "loading-process-events-interval-bytes": "1024",
    }
    usual = dict(lab._config)
    lab._config.update(slowly)
    starting = threading.Thread(target=lab.start, name="loading")
    starting.start()
    try:
        with redis.Redis(port=lab.port, retry=Retry(NoBackoff(), 0)) as client:
            wait_until(lambda: _is_loading(client))
        yield
    finally:
        starting.join()
        lab._config = usual


@contextmanager
def _setting(lab: BrokerLab, name: str, value: str, usual: str) -> Iterator[None]:
    with lab.client() as client:
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, usual)


def _persistence(client: redis.Redis) -> dict[str, Any]:
    found: Any = client.info("persistence")
    return dict(found)


def _cluster_info(client: redis.Redis) -> bytes:
    found: Any = _command(client, "CLUSTER", "INFO")
    return found if isinstance(found, bytes) else repr(found).replace("': '", ":").encode()


def _is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.ConnectionError:
        pass
    return False


def _command(client: Any, *words: str | int) -> Any:
    return client.execute_command(*words)
