"""Replicas that lag: what their primary takes meanwhile dies with it."""

import time
from collections.abc import Sequence

from valkey_node import ValkeyNode, holds
from waiting import wait_until

NOT_THE_PASSWORD = "not-the-password"  # of a primary that has none


def kill_lagging(primary: ValkeyNode, replicas: Sequence[ValkeyNode], seconds: float) -> int:
    """Keep the replicas from a primary for so long, and kill it; return the bytes that none has.

    They log in with a password that it does not have. A replica that is frozen would still find in
    its socket what was sent to it.
    """
    try:
        for replica in replicas:
            replica.ask("CONFIG", "SET", "primaryauth", NOT_THE_PASSWORD)
        primary.ask("CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: holds(lambda: all(map(_is_off, replicas))))
        time.sleep(seconds)
        behind = max(int(it.info("replication")["slave_repl_offset"]) for it in replicas)
        written = int(primary.info("replication")["master_repl_offset"])
        primary.kill()
    finally:
        for replica in replicas:
            replica.ask("CONFIG", "SET", "primaryauth", "")
    return written - behind


def _is_off(replica: ValkeyNode) -> bool:
    return replica.info("replication")["master_link_status"] == "down"
