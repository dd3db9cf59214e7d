"""A connection over TLS: whose certificates it takes, and which of its own it shows.

The embedded Valkey is built without TLS: it is ended before it.
"""

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from connections_made import Connect, ask, connections
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.brokers import tls
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from application.ports.errors import BrokerUnavailable


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connections() as connect:
        yield connect


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
