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

PASSING_CODES = frozenset({
    "OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN",
    "BUSY", "UNKILLABLE", "WRONGPASS",
})  # fmt: skip
"""First words of error replies that may pass by themselves; all others are for good."""


TOO_MANY_CLIENTS = "ERR max number of clients reached"

NO_CREDENTIALS = "Authentication required."
"""What is left of NOAUTH in redis-py's `AuthenticationError`, which it also raises for a wrong one:
a wrong password may be in rotation, none at all is a setting."""


def translate(error: RedisError) -> PublisherError:
    """Return the port's error for what redis-py raised, which is its cause."""
    text = str(error)
    passing = isinstance(error, PASSING) or _code(text) in PASSING_CODES
    passing = (passing and text != NO_CREDENTIALS) or text.startswith(TOO_MANY_CLIENTS)
    failure = (BrokerUnavailable if passing else BrokerRefused)(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def translate_reply(reply: bytes) -> PublisherError:
    """Return the port's error for an error reply that a script passed on."""
    text = reply.decode(errors="replace")
    return (BrokerUnavailable if _code(text) in PASSING_CODES else BrokerRefused)(text)


def _code(text: str) -> str:
    return text.partition(" ")[0]
