"""What Redis says when something is wrong, in the words of the port."""

from redis.exceptions import (
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

PASSING = (
    RedisConnectionError,  # with LOADING and WRONGPASS, which redis-py derives from it
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,  # with MASTERDOWN
    TryAgainError,
)
"""Failures that may pass by themselves."""

PASSING_CODES = (
    "OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN",
    "BUSY", "UNKILLABLE",
)  # fmt: skip
"""First words of error replies that may pass by themselves; all others are for good."""


def translate(error: RedisError) -> PublisherError:
    """Return the port's error for what redis-py raised, which is its cause."""
    passing = isinstance(error, PASSING) or str(error).startswith(PASSING_CODES)
    failure = (BrokerUnavailable if passing else BrokerRefused)(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def translate_reply(reply: bytes) -> PublisherError:
    """Return the port's error for an error reply that a script passed on."""
    text = reply.decode(errors="replace")
    return (BrokerUnavailable if text.startswith(PASSING_CODES) else BrokerRefused)(text)
