"""The proxy with which connections are broken: each fault does what it says."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from chaos_proxy import ChaosProxy
from running import free_port
from waiting import wait_until


class Echo:
    """A server that sends everything back, until it is told to read no more."""

    def __init__(self) -> None:
        self.heard = 0
        self.reads = threading.Event()
        self.reads.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def close(self) -> None:
        """Hang up on everybody; once is enough."""
        self.reads.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for accepted in self._sockets:
            with suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(accepted)
            self._threads.append(threading.Thread(target=self._echo, args=(accepted,)))
            self._threads[-1].start()

    def _echo(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                while self.reads.wait() and (data := accepted.recv(65_536)):
                    self.heard += len(data)
                    accepted.sendall(data)
            except OSError:
                pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ChaosProxy]:
    with ChaosProxy(echo.port) as running:
        yield running


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[socket.socket]:
    with dial(proxy) as connected:
        assert say(connected, b"hello") == b"hello"
        yield connected


def dial(proxy: ChaosProxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=10)


def say(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return hear(client, len(data))


def hear(client: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size and (data := client.recv(size - len(heard))):
        heard += data
    return heard


def is_silent(client: socket.socket, seconds: float = 0.2) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def test_a_plain_wire_carries_everything_in_order_and_the_end_as_well(
    proxy: ChaosProxy, client: socket.socket
) -> None:
    data = bytes(range(256)) * 4096
    sending = threading.Thread(target=client.sendall, args=(data,))
    sending.start()
    assert hear(client, len(data)) == data
    sending.join()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    wait_until(lambda: proxy.connections == 0)


def test_it_reads_no_more_than_the_server_takes(
    echo: Echo, proxy: ChaosProxy, client: socket.socket
) -> None:
    echo.reads.clear()
    client.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < 64 << 20:
            sent += client.send(b"x" * 65_536)
    assert sent < 64 << 20  # some MiB in the kernel's buffers, 1 MiB in ours


def test_a_cut_towards_the_server_lets_exactly_that_many_bytes_through(
    echo: Echo, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.cut_after(to_server=3, new=False)
    client.sendall(b"abcdef")
    with pytest.raises(ConnectionResetError):
        hear(client, 6)
    wait_until(lambda: echo.heard == len(b"hello") + 3)
    with dial(proxy) as new:
        assert say(new, b"abcdef") == b"abcdef"


def test_a_cut_towards_the_client_lets_exactly_that_many_bytes_through(
    echo: Echo, proxy: ChaosProxy
) -> None:
    proxy.cut_after(to_client=3)
    with dial(proxy) as client:
        client.sendall(b"abcdef")
        assert hear(client, 3) == b"abc"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert echo.heard == 6


def test_swallowed_replies_never_come_though_the_server_heard_everything(
    echo: Echo, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.swallow_replies(new=False)
    client.sendall(b"abc")
    assert is_silent(client)
    assert echo.heard == len(b"hello") + 3
    with dial(proxy) as new:
        assert say(new, b"def") == b"def"
        proxy.heal()  # a stream with bytes missing in the middle is none that TCP can show
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert say(new, b"ghi") == b"ghi"


@pytest.mark.parametrize(("to_server", "to_client"), [(0.3, 0.0), (0.0, 0.3)])
def test_a_delay_is_of_time_and_not_of_throughput(
    proxy: ChaosProxy, client: socket.socket, to_server: float, to_client: float
) -> None:
    proxy.delay(to_server=to_server, to_client=to_client)
    begun = time.monotonic()
    for word in (b"one", b"two", b"six"):
        client.sendall(word)
        time.sleep(0.05)  # chunks of their own, all of which are on their way at once
    assert hear(client, 9) == b"onetwosix"
    assert 0.3 <= time.monotonic() - begun < 0.8
    proxy.heal()
    begun = time.monotonic()
    assert say(client, b"now") == b"now"
    assert time.monotonic() - begun < 0.25


def test_a_black_hole_passes_nothing_resets_nothing_and_what_was_held_continues_when_it_is_healed(
    echo: Echo, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.black_hole()
    client.sendall(b"abc")
    with dial(proxy) as new:
        new.sendall(b"def")
        assert is_silent(client)
        assert is_silent(new)
        assert echo.heard == len(b"hello")
        proxy.heal()
        assert (hear(client, 3), hear(new, 3)) == (b"abc", b"def")


def test_the_end_of_a_server_does_not_get_through_a_black_hole(
    echo: Echo, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.black_hole()
    echo.close()
    assert is_silent(client)


def test_a_reset_hits_all_connections_and_new_ones_are_taken(
    proxy: ChaosProxy, client: socket.socket
) -> None:
    with dial(proxy) as other:
        assert say(other, b"abc") == b"abc"
        proxy.reset()
        for each in (client, other):
            with pytest.raises(ConnectionResetError):
                each.recv(1)
    with dial(proxy) as new:
        assert say(new, b"def") == b"def"


def test_connections_are_refused_until_it_is_healed_and_those_that_are_open_live_on(
    proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    assert say(client, b"abc") == b"abc"
    proxy.heal()
    with dial(proxy) as new:
        assert say(new, b"def") == b"def"


def test_a_server_that_is_away_is_a_connection_that_is_reset() -> None:
    away = ChaosProxy(free_port())
    with away, pytest.raises(ConnectionResetError), dial(away) as client:  # noticed by either
        client.recv(1)
