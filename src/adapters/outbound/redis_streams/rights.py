"""The rights of the broker's user: the commands that this package sends, and their keys.

The list has exactly the commands that are sent; a test removes each of them.
"""

COMMANDS = (
    "ping", "select", "evalsha", "script|load", "time",
    "xadd", "xinfo|stream", "xlen", "xrange", "xrevrange", "xtrim",
    "hget", "hmget", "hgetall", "hset", "hdel",
    "zadd", "zscore", "zscan", "zrem",
    "set", "del", "exists", "pexpire",
)  # fmt: skip
"""Calls, recovery and reading back need these."""

ADVICE = ("info", "config|get")
"""For `advise` and REDIS_CONFIRM=disk; otherwise only the advice depends on them."""

SEVERAL = ("wait", "role", "cluster|slots", "asking")
"""For several servers: REDIS_CONFIRM=replica, Sentinels, a cluster."""

AT_SENTINELS = ("ping", "sentinel|get-master-addr-by-name", "sentinel|master")
"""At Sentinels; without the last one only down-after-milliseconds is unknown."""


def sentinel_acl_rule() -> str:
    """Write the ACL of the separate user at the Sentinels."""
    allowed = " ".join(f"+{command}" for command in AT_SENTINELS)
    return f"ACL SETUSER USER on >PASSWORD resetkeys resetchannels -@all {allowed}"


def acl_rule(prefix: str) -> str:
    """Write the ACL of a user that may do what the service does, and nothing more."""
    allowed = " ".join(f"+{command}" for command in (*COMMANDS, *ADVICE, *SEVERAL))
    return f"ACL SETUSER USER on >PASSWORD resetkeys ~{prefix}:* resetchannels -@all {allowed}"
