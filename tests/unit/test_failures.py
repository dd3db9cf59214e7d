import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from adapters.outbound.redis_streams.failures import translate, translate_reply
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

REPLIES: list[tuple[str, type[PublisherError]]] = [
    ("OOM command not allowed when used memory > 'maxmemory'.", BrokerUnavailable),
    ("READONLY You can't write against a read only replica.", BrokerUnavailable),
    ("LOADING Redis is loading the dataset in memory", BrokerUnavailable),
    ("MISCONF Redis is configured to save RDB snapshots", BrokerUnavailable),
    ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable),
    ("CLUSTERDOWN The cluster is down", BrokerUnavailable),
    ("MASTERDOWN Link with MASTER is down", BrokerUnavailable),
    ("TRYAGAIN Multiple keys request during rehashing of slot", BrokerUnavailable),
    ("BUSY Redis is busy running a script.", BrokerUnavailable),
    ("UNKILLABLE Sorry the script already executed write commands", BrokerUnavailable),
    ("NOPERM User default has no permissions to run the 'xadd' command", BrokerRefused),
    ("NOAUTH Authentication required.", BrokerRefused),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", BrokerRefused),
    ("BUSYGROUP Consumer Group name already exists", BrokerRefused),
    ("CROSSSLOT Keys in request don't hash to the same slot", BrokerRefused),
    ("ERR unknown command 'XADD'", BrokerRefused),
    ("ERR value is not an integer or out of range", BrokerRefused),
    ("ERR command OOM is unknown", BrokerRefused),
    ("", BrokerRefused),
]


@pytest.mark.parametrize(("reply", "kind"), REPLIES, ids=[text[:12] for text, _ in REPLIES])
def test_an_error_reply_is_passing_or_for_good(reply: str, kind: type[PublisherError]) -> None:
    error = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    assert isinstance(error, RedisError)
    failure = translate(error)
    assert type(failure) is kind
    assert failure.__cause__ is error


@pytest.mark.parametrize(("reply", "kind"), REPLIES, ids=[text[:12] for text, _ in REPLIES])
def test_an_error_reply_out_of_a_script_means_the_same(
    reply: str, kind: type[PublisherError]
) -> None:
    failure = translate_reply(reply.encode())
    assert type(failure) is kind
    assert str(failure) == reply


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RedisConnectionError("Connection refused"), BrokerUnavailable),
        (RedisTimeoutError("Timeout reading from socket"), BrokerUnavailable),
        (BusyLoadingError("Redis is loading the dataset in memory"), BrokerUnavailable),
        (AuthenticationError("invalid username-password pair"), BrokerUnavailable),
        (OutOfMemoryError("command not allowed"), BrokerUnavailable),
        (ReadOnlyError("You can't write against a read only replica."), BrokerUnavailable),
        (ClusterDownError("CLUSTERDOWN The cluster is down"), BrokerUnavailable),
        (MasterDownError("MASTERDOWN Link with MASTER is down"), BrokerUnavailable),
        (TryAgainError("TRYAGAIN"), BrokerUnavailable),
        (ResponseError("MISCONF Errors writing to the AOF file"), BrokerUnavailable),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), BrokerUnavailable),
        (NoPermissionError("no permissions"), BrokerRefused),
        (ResponseError("wrong number of arguments"), BrokerRefused),
        (RedisError("anything else"), BrokerRefused),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_redis_py_raises_becomes_the_error_of_the_port_with_its_cause(
    error: RedisError, kind: type[PublisherError]
) -> None:
    failure = translate(error)
    assert type(failure) is kind
    assert failure.__cause__ is error
    assert str(failure) == f"{type(error).__name__}: {error}"


def test_a_reply_that_is_no_text_is_translated_all_the_same() -> None:
    assert type(translate_reply(b"\xff\xfe")) is BrokerRefused
