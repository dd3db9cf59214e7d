"""A master, its replicas and the sentinels that watch over them."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal

import redis
from closing import Started
from valkey_node import DATA_CONFIG, ValkeyNode, holds
from waiting import wait_for, wait_until

NAME = "rtaa"
LIMIT_SECONDS = 60.0

QUICK = ("INFO-PERIOD", "100", "PUBLISH-PERIOD", "100", "ASK-PERIOD", "100")
USUAL = ("INFO-PERIOD", "10000", "PUBLISH-PERIOD", "2000", "ASK-PERIOD", "1000")
"""How often the sentinels look around: while they get to know each other, and afterwards."""

CALM = ("TILT-TRIGGER", "10000", "TILT-PERIOD", "1000")
"""A busy machine delays their timers; by default they would then do nothing for 30 s."""

How = Literal["kill", "freeze", "command"]


class SentinelGroup(Started):
    """One master with replicas under sentinels, for as long as the context lasts.

    `config` is added to the configuration of the data nodes. A second failover can begin
    2 x `failover_timeout_ms` after the first began.
    """

    def __init__(
        self,
        replicas: int = 2,
        sentinels: int = 3,
        down_after_ms: int = 1000,
        *,
        failover_timeout_ms: int = 2000,
        password: str | None = None,
        sentinel_password: str | None = None,
        min_replicas_to_write: int = 0,
        **config: str,
    ) -> None:
        self.name = NAME
        self.nodes: list[ValkeyNode] = []
        self.sentinels: list[ValkeyNode] = []
        self.sentinel_password = sentinel_password
        self._replicas = replicas
        self._sentinel_count = sentinels
        self._down_after_ms = down_after_ms
        self._failover_timeout_ms = failover_timeout_ms
        self._password = password
        self._config = {
            **DATA_CONFIG,
            "min-replicas-to-write": str(min_replicas_to_write),
            "min-replicas-max-lag": "2",
            **config,
        }
        if password:
            self._config |= {"requirepass": password, "primaryauth": password}

    def close(self) -> None:
        """Kill all processes and delete what they stored."""
        for node in (*self.sentinels, *self.nodes):
            node.kill()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Where a client connects to; a password in it is that of the data nodes."""
        login = f":{self._password}@" if self._password else ""
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{login}{hosts}/{NAME}"

    # Who is master

    @property
    def master(self) -> ValkeyNode:
        """The node that a majority of the sentinels names now."""
        return wait_for(self._named, LIMIT_SECONDS)

    @property
    def masters(self) -> list[ValkeyNode]:
        """The master, where a cluster has several."""
        return [self.master]

    @property
    def replicas(self) -> list[ValkeyNode]:
        """All nodes but the master, whatever they are."""
        master = self.master
        return [node for node in self.nodes if node is not master]

    @property
    def failovers(self) -> int:
        """How many failovers the sentinels have completed."""
        return max(sentinel.log.count("+switch-master") for sentinel in self.sentinels)

    # Between tests

    def heal(self) -> None:
        """Start what is dead and thaw what is frozen, and wait until all is healthy."""
        for node in (*self.nodes, *self.sentinels):
            node.revive()
        self.wait_until_healthy()

    def flush(self) -> None:
        """FLUSHALL on the master."""
        self.master.ask("FLUSHALL", "SYNC")

    # What happens to it

    def fail_over(self, how: How = "kill") -> ValkeyNode:
        """Take the master away and return the new one; the old one stays dead or frozen."""
        old = self.master
        match how:
            case "kill":
                old.kill()
            case "freeze":
                old.freeze()
            case "command":
                wait_until(self._takes_the_command, LIMIT_SECONDS)
        return self.wait_for_failover(old)

    def wait_for_failover(self, old: ValkeyNode) -> ValkeyNode:
        """Return the new master once a majority of the sentinels names it and it says so too."""

        def new() -> ValkeyNode | None:
            named = self._named()
            is_new = named is not None and named is not old and named.role() == "master"
            return named if is_new else None

        return wait_for(new, LIMIT_SECONDS)

    def wait_until_healthy(self) -> None:
        """Wait until every sentinel knows all others and all nodes, and all replicas are in sync.

        All processes have to run. The sentinels look around quickly meanwhile: a master that came
        back is turned into a replica at once, and not after 10 s.
        """
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *QUICK, *CALM)
        wait_until(lambda: holds(self._is_healthy), LIMIT_SECONDS)
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *USUAL)

    # Inside

    def start(self) -> None:
        """Start all servers; return when they are healthy."""
        self._directory = tempfile.TemporaryDirectory(prefix="rtaa-sentinel-")
        folder = Path(self._directory.name)
        master = self._add_node(folder / "node-0", self._config)
        for number in range(1, self._replicas + 1):
            config = {**self._config, "replicaof": f"127.0.0.1 {master.port}"}
            self._add_node(folder / f"node-{number}", config)
        for number in range(self._sentinel_count):
            self._add_sentinel(folder / f"sentinel-{number}", master)
        self.wait_until_healthy()

    def _add_node(self, folder: Path, config: dict[str, str]) -> ValkeyNode:
        self.nodes.append(ValkeyNode(folder, config))
        self.nodes[-1].start()
        return self.nodes[-1]

    def _add_sentinel(self, folder: Path, master: ValkeyNode) -> None:
        lines = [
            f"sentinel monitor {NAME} 127.0.0.1 {master.port} {self._majority}",
            f"sentinel down-after-milliseconds {NAME} {self._down_after_ms}",
            f"sentinel failover-timeout {NAME} {self._failover_timeout_ms}",
            f"sentinel parallel-syncs {NAME} {max(1, self._replicas)}",
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {NAME} {self._password}")
        config = {"requirepass": self.sentinel_password} if self.sentinel_password else {}
        sentinel = ValkeyNode(folder, config, lines=tuple(lines), sentinel=True)
        self.sentinels.append(sentinel)
        sentinel.start()

    @property
    def _majority(self) -> int:
        return self._sentinel_count // 2 + 1

    def _named(self) -> ValkeyNode | None:
        ports: Counter[int] = Counter()
        for sentinel in self.sentinels:
            if sentinel.is_able:
                try:
                    found = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
                except redis.RedisError:
                    continue
                ports[int(found[1])] += 1
        named = [port for port, count in ports.items() if count >= self._majority]
        return next((node for node in self.nodes if node.port in named), None)

    def _takes_the_command(self) -> bool:
        """NOGOODSLAVE and INPROG pass."""
        sentinel = next(sentinel for sentinel in self.sentinels if sentinel.is_able)
        return holds(lambda: sentinel.ask("SENTINEL", "FAILOVER", NAME) == "OK")

    def _is_healthy(self) -> bool:
        master = self._named()
        if master is None or master.role() != "master":
            return False
        replicas = [node for node in self.nodes if node is not master]
        return (
            all(self._sees_all(sentinel) for sentinel in self.sentinels)
            and all(_follows(replica, master) for replica in replicas)
            and _online_replicas(master) == len(replicas)
        )

    def _sees_all(self, sentinel: ValkeyNode) -> bool:
        seen = _fields(sentinel.ask("SENTINEL", "MASTER", NAME))
        replicas = [_fields(found) for found in sentinel.ask("SENTINEL", "REPLICAS", NAME)]
        others = [_fields(found) for found in sentinel.ask("SENTINEL", "SENTINELS", NAME)]
        return (
            seen["flags"] == "master"
            and len(replicas) == self._replicas
            and all(it["flags"] == "slave" for it in replicas)
            and all(it["master-link-status"] == "ok" for it in replicas)
            and len(others) == self._sentinel_count - 1
            and not any(_is_away(it["flags"]) for it in others)
        )


def _fields(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _is_away(flags: str) -> bool:
    """`master_down`, what another sentinel has once reported, stays among the flags."""
    return not {"s_down", "o_down", "disconnected"}.isdisjoint(flags.split(","))


def _follows(replica: ValkeyNode, master: ValkeyNode) -> bool:
    it = replica.info("replication")
    return (it["role"], it.get("master_port"), it.get("master_link_status")) == (
        "slave",
        str(master.port),
        "up",
    )


def _online_replicas(master: ValkeyNode) -> int:
    return sum("state=online" in value for value in master.info("replication").values())
