"""What the tests over real sockets share."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from broker_lab import BrokerLab
from example_reader import ExampleReader
from node_reader import install, node_worker
from observed_websocket import ObservedServer
from running import Caller, Service, ServiceProcess
from valkey_cluster import ValkeyCluster
from valkey_node import NEVER_MS
from valkey_sentinel import SentinelGroup
from worker_processes import StartWorkers, WorkersProcess

from adapters.outbound.redis_streams.embedded import EmbeddedValkey


@pytest.fixture(autouse=True)
async def no_caller_is_left() -> AsyncIterator[None]:
    yield
    await Caller.hang_up_all()


StartProcess = Callable[..., ServiceProcess]


@pytest.fixture
def process(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[StartProcess]:
    """Start services as processes of one installation; kill what is left of them."""
    started: list[ServiceProcess] = []

    def start(**variables: str) -> ServiceProcess:
        environment = {
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": valkey.url,
            "SUPPORT_EXOTEL": "true",
            "ACK_INTERVAL": "1",  # what is acknowledged does not hang on how frames come together
            **variables,
        }
        started.append(ServiceProcess(environment, tmp_path / f"log-{len(started)}"))
        return started[-1].wait_until_ready()

    yield start
    for service in started:
        if service.process.poll() is None:
            service.kill()


@pytest.fixture
def workers(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[StartWorkers]:
    """Start a service of two workers; whatever is left of it is killed."""
    started: list[WorkersProcess] = []

    def start(*, warm: bool = True, **variables: str) -> WorkersProcess:
        environment = {
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": valkey.url,
            "SUPPORT_EXOTEL": "true",
            **variables,
        }
        started.append(WorkersProcess(environment, tmp_path / "log", warm=warm))
        return started[-1]

    yield start
    for service in started:
        service.kill_all()


@pytest.fixture(scope="module")
def observed_server() -> Iterator[ObservedServer]:
    with ObservedServer() as running:
        yield running


@pytest.fixture
def observed(observed_server: ObservedServer) -> Iterator[ObservedServer]:
    """`WebSocketGuard` alone; no peer, whatever it sends, may fill a log or raise in the loop."""
    observed_server.complaints.clear()
    yield observed_server
    assert observed_server.complaints[:3] == []


@pytest.fixture(scope="module")
def shared_group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as group:
        yield group


@pytest.fixture
def sentinel_group(shared_group: SentinelGroup) -> SentinelGroup:
    """A primary with two replicas under Sentinels, healthy and empty."""
    shared_group.heal()
    shared_group.flush()
    return shared_group


@pytest.fixture(scope="module")
def still_group() -> Iterator[SentinelGroup]:
    """A primary with one replica; its Sentinels take none for down."""
    with SentinelGroup(replicas=1, down_after_ms=NEVER_MS) as group:
        yield group


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(masters=3, replicas=3) as group:
        yield group


@pytest.fixture
def cluster(shared_cluster: ValkeyCluster) -> ValkeyCluster:
    """Three primaries with a replica each, healthy and empty."""
    shared_cluster.heal()
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    """A broker of the test's own, which may be killed; it syncs every second."""
    with BrokerLab(appendfsync="everysec") as lab:
        yield lab


@pytest.fixture
def its_service(lab: BrokerLab, start_service: Callable[..., Service]) -> Service:
    """A service on that broker, for tests of readers."""
    variables = {"RESUME_SECONDS": "3", "ACK_INTERVAL": "1", "REWIND_SECONDS": "20"}
    return start_service(REDIS_URL=lab.url, **variables)


@pytest.fixture(scope="session")
def node_packages() -> None:
    """Skip what needs Node.js and its packages, where they are absent."""
    install()


@pytest.fixture
def start_node(
    lab: BrokerLab, tmp_path: Path, node_packages: None
) -> Iterator[Callable[..., ExampleReader]]:
    """Start workers of `clients/node` on that broker; kill them at the end."""
    with ExitStack() as stack:

        def start(name: str, url: str = lab.url, **times: int) -> ExampleReader:
            return stack.enter_context(node_worker(url, tmp_path, name, **times))

        yield start
