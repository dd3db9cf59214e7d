"""What the broker's user must be allowed: the commands that this package sends, and on which keys.

A command that is sent anywhere here is in this list, and nothing else; a test takes each away.
"""

COMMANDS = (
    "ping", "select", "evalsha", "script|load", "time",
    "xadd", "xinfo|stream", "xlen", "xrange", "xrevrange", "xtrim",
    "hget", "hmget", "hgetall", "hset", "hdel",
    "zadd", "zscore", "zscan", "zrem",
    "set", "del", "exists", "pexpire",
)  # fmt: skip
"""Without one of them there is no call, no recovery or no reading back."""

ADVICE = ("info", "config|get")
"""What `advise` asks, and REDIS_CONFIRM=disk; without that only the advice is missing."""

SEVERAL = ("wait", "role", "cluster|slots", "asking")
"""What is sent where there are several servers: REDIS_CONFIRM=replica, Sentinels, a cluster."""

AT_SENTINELS = ("ping", "sentinel|get-master-addr-by-name", "sentinel|master")
"""What Sentinels are asked; without the last only down-after-milliseconds is not known."""


def sentinel_acl_rule() -> str:
    """Write the ACL of a user at the Sentinels: an account of its own there."""
    allowed = " ".join(f"+{command}" for command in AT_SENTINELS)
    return f"ACL SETUSER USER on >PASSWORD resetkeys resetchannels -@all {allowed}"


def acl_rule(prefix: str) -> str:
    """Write the ACL of a user that may do what the service does, and nothing more."""
    allowed = " ".join(f"+{command}" for command in (*COMMANDS, *ADVICE, *SEVERAL))
    return f"ACL SETUSER USER on >PASSWORD resetkeys ~{prefix}:* resetchannels -@all {allowed}"
