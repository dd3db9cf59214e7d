"""Three NATS servers that form a cluster, of which one or all may die, freeze or step down."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from chaos_proxy import ChaosProxy
from closing import Started
from nats_client import NatsClient
from ports import quiet_port
from waiting import wait_until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats

SERVERS = 3
START_SECONDS = 60.0


class NatsCluster(Started):
    """Servers with fixed ports: they come back where they were."""

    def __init__(self) -> None:
        self.routes = [quiet_port() for _ in range(SERVERS)]
        self.servers = [self._server(number) for number in range(SERVERS)]

    def _server(self, number: int) -> EmbeddedNats:
        advertised, dialled = self._ways(number)
        among = ", ".join(f'"nats://127.0.0.1:{port}"' for port in dialled)
        return EmbeddedNats(
            f"server_name: n{number}\n"
            f'cluster {{ name: c, listen: "127.0.0.1:{self.routes[number]}", '
            f'advertise: "127.0.0.1:{advertised}", routes: [{among}] }}',
            quiet_port(),
        )

    def _ways(self, number: int) -> tuple[int, Sequence[int]]:
        """Return the port by which the others hear of a server, and those that it dials itself."""
        return self.routes[number], self.routes

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    @property
    def running(self) -> list[EmbeddedNats]:
        return [server for server in self.servers if server.is_started]

    def start(self) -> None:
        """Start all that do not run; return when they know each other and elect leaders."""
        for server in self.servers:
            if not server.is_started:
                server.start()
        wait_until(self._is_whole, START_SECONDS)

    def wait_for_leader(self, stream: str) -> None:
        """Wait until a stream takes writes again; one that is not there needs no leader."""
        wait_until(lambda: self._has_leader(stream))

    def leader_of(self, stream: str) -> EmbeddedNats:
        """Return the server that leads a stream now."""
        found: list[int] = []

        def look() -> bool:
            told = self.ask(f"$JS.API.STREAM.INFO.{stream}")
            name = (told.get("cluster") or {}).get("leader")
            found[:] = [int(name[1:])] if name else []
            return bool(found)

        wait_until(look)
        return self.servers[found[0]]

    def is_in_step(self, stream: str) -> bool:
        """Tell whether a stream has a leader and all its replicas have what the leader has."""
        cluster = self.ask(f"$JS.API.STREAM.INFO.{stream}").get("cluster") or {}
        replicas = cluster.get("replicas") or []
        has_all = len(replicas) == SERVERS - 1 and all(it.get("current") for it in replicas)
        return bool(cluster.get("leader")) and has_all

    def ask(self, subject: str, asked: object = None) -> dict[str, Any]:
        """Ask any server that answers; `{}` if none does."""
        for server in self.running:
            with suppress(OSError), NatsClient(server.port, seconds=2) as client:
                return client.request(subject, asked)
        return {}

    def stop_all(self, number: signal.Signals = signal.SIGTERM) -> None:
        for server in self.running:
            server.stop(number)

    def close(self) -> None:
        self.stop_all(signal.SIGKILL)
        for server in self.servers:
            server.close()

    def _is_whole(self) -> bool:
        with suppress(OSError):
            for server in self.servers:
                with NatsClient(server.port, seconds=0.5) as client:
                    if len(client.greeting.get("connect_urls") or ()) < SERVERS:
                        return False
                    if "memory" not in client.request("$JS.API.INFO"):
                        return False
            return True
        return False

    def _has_leader(self, stream: str) -> bool:
        told = self.ask(f"$JS.API.STREAM.INFO.{stream}")
        if told.get("error", {}).get("code") == 404:
            return True
        return bool((told.get("cluster") or {}).get("leader"))


class PartedCluster(NatsCluster):
    """One whose first server can be cut off from both others, and still reached by clients.

    What goes to it or from it passes proxies; the others dial each other directly.
    """

    def __init__(self) -> None:
        self._proxies: list[ChaosProxy] = []
        super().__init__()

    def start(self) -> None:
        for proxy in self._proxies:
            proxy.__enter__()
        super().start()

    def part(self) -> None:
        """Cut the first server off, for good."""
        for proxy in self._proxies:
            proxy.refuse()
            proxy.reset()

    def close(self) -> None:
        super().close()
        for proxy in self._proxies:
            proxy.close()

    def _ways(self, number: int) -> tuple[int, Sequence[int]]:
        self._proxies = self._proxies or [ChaosProxy(port) for port in self.routes]
        first = self._proxies[0].port
        dialled = [first, *self.routes[1:]] if number else self.routes[:1]
        return self._proxies[number].port, dialled
