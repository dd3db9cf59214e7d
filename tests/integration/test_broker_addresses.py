"""A broker whose name has several addresses, some of them dead. Only the resolver is staged."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from broker_lab import BrokerLab
from broker_refusals import password

from adapters.brokers import dialling
from adapters.outbound.redis_streams import connecting
from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable

NAME = "broker.example"
NO_ANSWER = "no answer to the connection"


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@contextmanager
def swallowing(host: str) -> Iterator[tuple[str, int]]:
    """Listen where no connection is ever made: the queue is full, and what comes is dropped."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        while True:
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0.3)
            try:
                filling.connect(address)
            except TimeoutError:
                break
        yield address


@contextmanager
def silent(host: str) -> Iterator[tuple[str, int]]:
    """Listen where connections are made and nothing is ever answered."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen(8)
        yield listener.getsockname()


@contextmanager
def closed(host: str) -> Iterator[tuple[str, int]]:
    """A port that is bound by us, where no process listens."""
    with socket.socket() as bound:
        bound.bind((host, 0))
        yield bound.getsockname()


Dead = Callable[[str], AbstractContextManager[tuple[str, int]]]
Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Give `NAME` addresses."""
    real = socket.getaddrinfo

    def give(*addresses: tuple[str, int], after: threading.Event | None = None) -> None:
        def look_up(host: str, *others: object, **named: object) -> object:
            if host != NAME:
                return real(host, *others, **named)  # type: ignore[arg-type]
            if after is not None:
                after.wait(10)
            stream = socket.SOCK_STREAM
            return [(socket.AF_INET, stream, 6, "", address) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return give


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(connecting, "LOGIN_SECONDS", 1.5)


@pytest.mark.parametrize("dead", [swallowing, closed, silent])
async def test_a_dead_address_before_a_live_one_keeps_neither_writes_nor_reads_away(
    lab: BrokerLab, resolve: Resolve, dead: Dead
) -> None:
    with dead("127.0.0.2") as first:
        resolve(first, first, ("127.0.0.1", lab.port))
        destination = RedisDestination(DestinationOptions(), f"redis://{NAME}")
        await destination.verify_writable()
        assert await destination.reader.announcements() == []
        assert await destination.advise(0) == []
        await destination.close()


async def test_of_dead_addresses_each_is_told_and_why(lab: BrokerLab, resolve: Resolve) -> None:
    with swallowing("127.0.0.2") as full, closed("127.0.0.3") as shut, silent("127.0.0.4") as mute:
        resolve(full, shut, mute)
        destination = RedisDestination(DestinationOptions(), f"redis://{NAME}:7000")
        for ask in (destination.verify_writable, destination.reader.announcements):
            with pytest.raises(BrokerUnavailable) as raised:
                await ask()
            told = str(raised.value).split("; ")
            assert [one.partition(" (")[0] for one in told] == [f"{NAME}:7000"] * 3
            for one, address, why in zip(
                told,
                (full, shut, mute),
                (NO_ANSWER, "nothing listens there", "connected, but no answer in time"),
                strict=True,
            ):
                assert f"({address[0]}:{address[1]})" in one
                assert why in one
        await destination.close()


async def test_an_address_that_does_not_let_in_is_followed_by_the_next(
    lab: BrokerLab, resolve: Resolve
) -> None:
    with BrokerLab() as other, password(other, "s3cret"):
        both = (("127.0.0.1", other.port), ("127.0.0.1", lab.port))
        resolve(*both)
        destination = RedisDestination(DestinationOptions(), f"redis://{NAME}")
        await destination.verify_writable()
        await destination.close()
        resolve(both[0], both[0])
        destination = RedisDestination(DestinationOptions(), f"redis://{NAME}")
        with pytest.raises(BrokerRefused, match=r"REDIS_URL has none.*; .*REDIS_URL has none"):
            await destination.verify_writable()
        await destination.close()


async def test_a_slow_look_up_takes_nothing_of_the_time_for_the_connection(
    lab: BrokerLab, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    resolve(("127.0.0.1", lab.port), after=over)
    threading.Timer(3 * connecting.CONNECT_SECONDS, over.set).start()
    destination = RedisDestination(DestinationOptions(), f"redis://{NAME}")
    await destination.verify_writable()
    await destination.close()
    over.clear()
    monkeypatch.setattr(dialling, "RESOLVE_SECONDS", 0.1)
    destination = RedisDestination(DestinationOptions(), f"redis://{NAME}")
    with pytest.raises(BrokerUnavailable, match="not looked up in time"):
        await destination.verify_writable()
    over.set()
    await destination.close()
