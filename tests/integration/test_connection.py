"""The connection over which everything is written, against a real broker and a bad way to it."""

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
from broker_lab import BrokerLab
from broker_refusals import password, read_only
from chaos_proxy import ChaosProxy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.brokers import tls
from adapters.outbound.redis_streams import connection as connection_module
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.resp import Command, ErrorReply
from application.ports.errors import BrokerRefused, BrokerUnavailable

Connect = Callable[[str], Connection]


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@pytest.fixture
def proxy(lab: BrokerLab) -> Iterator[ChaosProxy]:
    with ChaosProxy(lab.port) as between:
        yield between


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make connections, which leave no task and no open call behind."""
    made: list[Connection] = []
    before = asyncio.all_tasks()

    def make(url: str) -> Connection:
        made.append(connection_to(Address.of(url)))
        return made[-1]

    yield make
    for connection in made:
        await connection.close()
        assert connection._connecting.is_idle
        assert connection._protocol is None or not connection._protocol._calls
    assert asyncio.all_tasks() - before == {asyncio.current_task()}


def through(proxy: ChaosProxy) -> str:
    host, port = proxy.address
    return f"redis://{host}:{port}"


async def ask(connection: Connection, *words: bytes | str | int) -> Any:
    (reply,) = await connection.run([words])
    return reply


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


# Coming in


@contextmanager
def user(lab: BrokerLab, name: str, *rules: str) -> Iterator[None]:
    with lab.client() as client:
        admin: Any = client
        admin.execute_command("ACL", "SETUSER", name, "on", "~*", "+@all", *rules)
        yield
        admin.execute_command("ACL", "DELUSER", name)


SECRET = "p@ss:/?#%wörd"


async def test_a_password_lets_in(lab: BrokerLab, connect: Connect) -> None:
    with password(lab, "secret"):
        connection = connect(f"redis://:secret@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"default"


async def test_a_user_with_a_password_of_any_characters_is_let_in(
    lab: BrokerLab, connect: Connect
) -> None:
    with user(lab, "writer", f">{SECRET}"):
        connection = connect(f"redis://writer:{quote(SECRET, safe='')}@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"writer"


async def test_a_user_who_needs_no_password_is_that_user(lab: BrokerLab, connect: Connect) -> None:
    with user(lab, "writer", "nopass"):
        connection = connect(f"redis://writer@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"writer"


async def test_a_wrong_password_may_be_in_rotation_and_none_is_a_setting(
    lab: BrokerLab, connect: Connect
) -> None:
    url = f"127.0.0.1:{lab.port}"
    with password(lab, "secret"):
        for wrong in (f"redis://:wrong@{url}", f"redis://unknown:secret@{url}"):
            connection = connect(wrong)
            with pytest.raises(BrokerUnavailable) as raised:
                await ask(connection, "PING")
            assert "secret" not in str(raised.value)
            assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
        with pytest.raises(BrokerRefused):
            await ask(connect(f"redis://{url}"), "PING")
        assert connection.epoch == 0


async def test_a_password_that_was_rotated_in_again_is_taken_by_the_same_connection(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(f"redis://:first@127.0.0.1:{lab.port}")
    with password(lab, "first"):
        assert await ask(connection, "PING") == b"PONG"
        protocol = connection._protocol
        assert protocol is not None
        with password(lab, "second"):
            await until(lambda: protocol.is_lost)
            with pytest.raises(BrokerUnavailable):
                await ask(connection, "PING")
        assert await ask(connection, "PING") == b"PONG"


@pytest.mark.parametrize("place", ["/3", "?db=3", "/1?db=3"])
async def test_the_database_is_the_one_of_the_url(
    lab: BrokerLab, connect: Connect, place: str
) -> None:
    connection = connect(f"redis://127.0.0.1:{lab.port}{place}")
    assert b" db=3 " in await ask(connection, "CLIENT", "INFO")


async def test_a_database_that_does_not_exist_is_refused(lab: BrokerLab, connect: Connect) -> None:
    with pytest.raises(BrokerRefused):
        await ask(connect(f"redis://127.0.0.1:{lab.port}/99"), "PING")


async def test_a_unix_socket_is_as_good(connect: Connect) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "valkey.sock"
        with EmbeddedValkey(unixsocket=str(path)):
            connection = connect(f"unix://{path}?db=2")
            info = await ask(connection, "CLIENT", "INFO")
            assert b" db=2 " in info
            assert bytes(path) in info
            big = b"x" * 3_000_000
            assert await ask(connection, "ECHO", big) == big


# TLS. The embedded Valkey is built without it: it is ended before it.


class Authority:
    """A CA of the test's own, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of a test")])
        certificate = self._sign(self._name, self._key, is_authority=True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Sign for `name`, an address or the name of a host; return certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(common, key, host=name)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        host: str | None = None,
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if host is not None:
            names: list[x509.GeneralName] = [
                x509.IPAddress(ipaddress.ip_address(host))
                if host[0].isdigit()
                else x509.DNSName(host)
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@asynccontextmanager
async def tls_end(lab: BrokerLab, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Speak TLS with each client, and plainly with the broker; return the port."""

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        plain_reader, plain = await asyncio.open_connection("127.0.0.1", lab.port)
        ways = [
            asyncio.create_task(pass_on(reader, plain)),
            asyncio.create_task(pass_on(plain_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for side in (plain, writer):
            side.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)

    served: set[Any] = set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.gather(*served, return_exceptions=True)
    await server.wait_closed()
    await asyncio.sleep(0)  # transports that were aborted close their sockets in the next turn


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def tls_port(lab: BrokerLab, authority: Authority) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    async with tls_end(lab, context) as port:
        yield port


async def test_a_certificate_of_a_known_authority_is_taken(
    tls_port: int, authority: Authority
) -> None:
    connection = connection_to(
        Address.of(f"rediss://127.0.0.1:{tls_port}/2?ssl_ca_certs={authority.path}")
    )
    assert b" db=2 " in await ask(connection, "CLIENT", "INFO")
    big = bytes(range(256)) * 8_000
    assert await ask(connection, "ECHO", big) == big
    await connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_that_is_not_trusted_or_for_another_host_is_refused(
    tls_port: int, authority: Authority, host: str
) -> None:
    trusted = f"?ssl_ca_certs={authority.path}" if host == "localhost" else ""
    connection = connection_to(Address.of(f"rediss://{host}:{tls_port}{trusted}"))
    for _ in range(2):
        with pytest.raises(BrokerUnavailable) as raised:
            await ask(connection, "PING")
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
    assert connection.epoch == 0
    await connection.close()


async def test_without_verification_any_certificate_will_do(tls_port: int) -> None:
    connection = connection_to(Address.of(f"rediss://localhost:{tls_port}?ssl_cert_reqs=none"))
    assert await ask(connection, "PING") == b"PONG"
    await connection.close()


async def test_a_broker_that_asks_who_we_are_is_shown_our_certificate(
    lab: BrokerLab, authority: Authority
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client")
    async with tls_end(lab, context) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}"
        shown = connection_to(Address.of(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}"))
        assert await ask(shown, "PING") == b"PONG"
        await shown.close()
        hidden = connection_to(Address.of(url))
        with pytest.raises(BrokerUnavailable):
            await ask(hidden, "PING")
        await hidden.close()


async def test_certificates_that_are_renewed_are_those_of_the_next_connection(
    lab: BrokerLab, authority: Authority, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    trusted, certificate, key = (tmp_path / name for name in ("trusted", "certificate", "key"))
    old, renewed = Authority(tmp_path), authority.issue("client")
    replaced = old.issue("client")

    def put(*files: tuple[Path, Path]) -> None:
        for place, content in files:
            place.write_bytes(content.read_bytes())

    put((trusted, authority.path), (certificate, replaced[0]), (key, replaced[1]))
    options = f"ssl_ca_certs={trusted}&ssl_certfile={certificate}&ssl_keyfile={key}"
    async with tls_end(lab, context) as port:
        connection = connection_to(Address.of(f"rediss://127.0.0.1:{port}?{options}"))
        with pytest.raises(BrokerUnavailable):
            await ask(connection, "PING")
        key.unlink()
        with pytest.raises(BrokerUnavailable, match="cannot be read: No such file"):
            await ask(connection, "PING")
        put((certificate, renewed[0]), (key, replaced[1]))
        with pytest.raises(BrokerUnavailable, match="cannot be used: KEY_VALUES_MISMATCH"):
            await ask(connection, "PING")
        put((key, renewed[1]))
        assert await ask(connection, "PING") == b"PONG"
        put((trusted, old.path))
        assert await ask(connection, "PING") == b"PONG"
        connection.give_up("by the test")
        with pytest.raises(BrokerUnavailable, match="certificate is not accepted"):
            await ask(connection, "PING")
        assert connection.epoch == 1
        await connection.close()


async def test_certificates_that_a_file_system_does_not_give_are_not_waited_for(
    lab: BrokerLab, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "FILES_SECONDS", 0.05)
    silent = tmp_path / "silent"
    os.mkfifo(silent)
    connection = connect(f"rediss://127.0.0.1:{lab.port}?ssl_ca_certs={silent}")
    with pytest.raises(BrokerUnavailable, match="not read in time"):
        await ask(connection, "PING")
    silent.write_bytes(b"")


async def test_a_broker_that_speaks_no_tls_is_away(lab: BrokerLab, connect: Connect) -> None:
    connection = connect(f"rediss://127.0.0.1:{lab.port}?ssl_cert_reqs=none")
    with pytest.raises(BrokerUnavailable):
        await ask(connection, "PING")


# Replies


async def test_an_error_reply_stands_in_its_place_and_what_follows_is_run(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    await ask(connection, "FLUSHALL")
    first, wrong, unknown, last = await connection.run(
        [("SET", "a", "x"), ("INCR", "a"), (b"\xff\xfe",), ("GET", "a")]
    )
    assert (first, last) == (b"OK", b"x")
    assert str(wrong).startswith("ERR value is not an integer")
    assert str(unknown).startswith("ERR unknown command")
    assert {type(wrong), type(unknown)} == {ErrorReply}
    commands: list[Command] = [
        ("MULTI",),
        ("SET", "b", 1),
        ("LPUSH", "a", 1),
        ("GET", "b"),
        ("EXEC",),
    ]
    *queued, (done, nested, found) = await connection.run(commands)
    assert queued == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
    assert (done, found) == (b"OK", b"1")
    assert isinstance(nested, ErrorReply)
    assert str(nested).startswith("WRONGTYPE")
    assert connection.epoch == 1


async def test_big_commands_and_replies_and_many_of_them_are_whole(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    big = bytes(range(256)) * 40_000  # 10 MB, with everything in it that RESP is made of
    assert await connection.run([("ECHO", big), ("PING",)]) == [big, b"PONG"]
    pushes: list[Command] = [("RPUSH", "list", n, b"\r\n" * n) for n in range(2_000)]
    await ask(connection, "DEL", "list")
    assert await connection.run(pushes) == [2 * n + 2 for n in range(2_000)]
    expected = [part for n in range(2_000) for part in (str(n).encode(), b"\r\n" * n)]
    assert await ask(connection, "LRANGE", "list", 0, -1) == expected


async def test_many_calls_at_once_are_each_given_their_own_replies(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)

    async def call(number: int) -> None:
        sizes = [number * 7 % 50 + n for n in range(number % 5 + 1)]
        texts = [b"%d:%d:" % (number, size) + b"x" * size * 50 for size in sizes]
        assert await connection.run([("ECHO", text) for text in texts]) == texts

    await asyncio.gather(*(call(number) for number in range(1_000)))
    assert connection.epoch == 1


async def test_replies_to_cancelled_calls_are_given_to_no_other_call(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    await ask(connection, "SET", "count", 0)
    with lab.frozen():
        calls = [
            asyncio.create_task(connection.run([("ECHO", n), ("INCR", "count"), ("ECHO", -n)]))
            for n in range(100)
        ]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        await asyncio.wait(calls[::3])
        later = asyncio.create_task(connection.run([("ECHO", "later")]))
    for n, call in enumerate(calls):
        if n % 3:
            assert await call == [str(n).encode(), n + 1, str(-n).encode()]
        else:
            assert call.cancelled()
    assert await later == [b"later"]
    assert await ask(connection, "GET", "count") == b"100"
    assert connection.epoch == 1


# A connection that is lost


MIXED: list[Command] = [
    ("INCR", "cut"),
    ("ECHO", "a\r\nb"),
    ("LPUSH", "cut", 1),  # an error
    ("GET", "nothing"),
    ("COMMAND", "GETKEYS", "MSET", "x", "1", "y", "2"),
]
"""With replies of every type: `:1`, `$4`, `-WRONGTYPE …`, `$-1`, `*2`."""


def encoded(reply: Any) -> bytes:
    """RESP2, written by hand."""
    match reply:
        case int():
            return b":%d\r\n" % reply
        case None:
            return b"$-1\r\n"
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(encoded(part) for part in reply)
        case ErrorReply():
            return f"-{reply}\r\n".encode()
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def encoded_command(command: Command) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


async def test_a_connection_cut_anywhere_in_its_replies_fails_the_call_and_repeats_nothing(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "SET", "cut", 0)
    replies = await connection.run(MIXED)
    size = sum(len(encoded(reply)) for reply in replies)
    for carried in range(size):
        await ask(connection, "SET", "cut", 0)
        epoch = connection.epoch
        proxy.cut_after(to_client=carried, new=False)
        with pytest.raises(BrokerUnavailable):
            await connection.run(MIXED)
        assert await ask(connection, "GET", "cut") == b"1"
        assert connection.epoch == epoch + 1
    await ask(connection, "SET", "cut", 0)
    proxy.cut_after(to_client=size, new=False)
    assert list(map(str, await connection.run(MIXED))) == list(map(str, replies))


async def test_a_connection_cut_anywhere_in_its_commands_runs_nothing_that_did_not_arrive_whole(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection, observer = connect(through(proxy)), connect(lab.url)
    commands: list[Command] = [("INCR", "cut"), ("INCRBY", "cut", 10)]
    first, second = [len(encoded_command(command)) for command in commands]
    for carried in range(first + second):
        await ask(connection, "SET", "cut", 0)
        proxy.cut_after(to_server=carried, new=False)
        with pytest.raises(BrokerUnavailable):
            await connection.run(commands)
        await until(lambda: proxy.connections == 0)
        arrived = await ask(observer, "GET", "cut")
        assert arrived in ([b"0"] if carried < first else [b"0", b"1"])  # a reset may outrun it


async def test_of_several_calls_those_whose_replies_have_come_have_succeeded(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "PING")
    proxy.cut_after(to_client=3 * len(b"$1\r\n0\r\n") + 2, new=False)
    outcomes = await asyncio.gather(
        *(connection.run([("ECHO", n)]) for n in range(6)), return_exceptions=True
    )
    # A reset may take with it what had come and was not read yet.
    answered = [outcome for outcome in outcomes[:3] if not isinstance(outcome, BrokerUnavailable)]
    assert answered == [[b"0"], [b"1"], [b"2"]][: len(answered)]
    assert outcomes[: len(answered)] == answered
    assert [type(outcome) for outcome in outcomes[3:]] == [BrokerUnavailable] * 3
    assert await ask(connection, "PING") == b"PONG"


async def test_every_new_connection_is_a_new_epoch_and_nothing_else_is(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    assert connection.epoch == 0
    for epoch in range(1, 4):
        for _ in range(3):
            assert await ask(connection, "PING") == b"PONG"
            assert connection.epoch == epoch
        protocol = connection._protocol
        assert protocol is not None
        proxy.reset()
        await until(lambda: protocol.is_lost)  # noqa: B023
        assert connection.epoch == epoch  # until it is used
    proxy.refuse()
    with pytest.raises(BrokerUnavailable):
        await ask(connection, "PING")
    assert connection.epoch == 3
    proxy.heal()


async def test_a_black_hole_is_given_up_and_the_connection_made_again(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "SET", "count", 0)
    monkeypatch.setattr(connection_module, "STALLED_SECONDS", 0.1)
    proxy.black_hole(new=False)
    waits = asyncio.create_task(connection.run([("INCR", "count")]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.run([("INCR", "count")])
    with pytest.raises(BrokerUnavailable):
        await waits
    assert await ask(connection, "GET", "count") == b"0"
    assert connection.epoch == 2


async def test_a_demoted_broker_answers_and_is_left(lab: BrokerLab, connect: Connect) -> None:
    connection = connect(lab.url)
    await ask(connection, "PING")
    with read_only(lab):
        found, refused = await connection.run([("GET", "nothing"), ("SET", "a", 1)])
        assert found is None
        assert str(refused).startswith("READONLY")
        assert connection._protocol is not None
        assert connection._protocol.is_lost
        script = "return redis.call('SET', KEYS[1], '1')"
        assert str(await ask(connection, "EVAL", script, 1, "a")).startswith("READONLY")
        assert connection._protocol.is_lost
        assert connection.epoch == 2
    assert await ask(connection, "SET", "a", 1) == b"OK"
    assert connection.epoch == 3


async def test_close_lets_go_of_the_socket_and_fails_who_waits(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "PING")
    assert proxy.connections == 1
    proxy.swallow_replies()
    waits = asyncio.create_task(connection.run([("PING",)]))
    await asyncio.sleep(0)
    await connection.close()
    await connection.close()
    with pytest.raises(BrokerUnavailable):
        await waits
    await until(lambda: proxy.connections == 0)
