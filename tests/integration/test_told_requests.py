"""Requests that are refused before the gate are told to the operator too."""

from collections.abc import Iterator
from typing import Any

import pytest
from log_lines import REFUSED, lines_of, total
from running import Keys
from told_mistakes import (
    HEAD,
    KEY,
    Mistake,
    Services,
    answer,
    complaints,
    request,
    telling_services,
)
from waiting import until

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

TOO_LONG = b"X-Long: " + b"x" * 9_000 + b"\r\n"
REQUESTS = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "unreadable"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "unreadable"),
    "a host that is none": (
        b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: <\r\n\r\n",
        400,
        "unreadable",
    ),
    "no key": (request().replace(KEY, b"Sec-WebSocket-Version: 13\r\n"), 400, "unreadable"),
    "a short key": (request().replace(b"AAAA==", b"=="), 400, "unreadable"),
    "two keys": (request(more=KEY), 400, "unreadable"),
    "HTTP/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, "unreadable"),
    "HTTP/1.0 without Upgrade": (
        request(upgrade=b"").replace(b"HTTP/1.1", b"HTTP/1.0"),
        426,
        "no_upgrade",
    ),
    "a subprotocol that is none": (
        request(more=b"Sec-WebSocket-Protocol: ,;\r\n"),
        400,
        "unreadable",
    ),
    "nothing": (b"", 408, "timed_out"),
    "half a request": (b"GET /v1/ingest HTT", 408, "timed_out"),
    "a body": (request(more=b"Content-Length: 5\r\n") + b"hello", 413, "body"),
    "a line too long": (request(more=TOO_LONG), 431, "headers_too_large"),
    "headers without end": (request(more=b"X: y\r\n" * 5_000), 431, "headers_too_large"),
    "another version": (request().replace(b": 13", b": 8"), 426, "wrong_version"),
    "a handshake that is a POST": (request().replace(b"GET", b"POST"), 405, "wrong_method"),
    "POST at health": (
        b"POST /health HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n",
        405,
        "wrong_method",
    ),
    "a WebSocket at health": (request("/health"), 404, "wrong_path"),
    "a WebSocket at the root": (request("/"), 404, "wrong_path"),
    "GET at the root": (
        b"GET / HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n",
        404,
        "wrong_path",
    ),
    "another upgrade": (
        request(upgrade=b"Upgrade: h2c\r\nConnection: close, Upgrade\r\n"),
        426,
        "no_upgrade",
    ),
}


@pytest.fixture(scope="module")
def services(
    valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> Iterator[Services]:
    logs = tmp_path_factory.mktemp("logs")
    with telling_services(valkey.url, keys.public_pem, logs) as services:
        yield services


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_is_refused_before_the_gate_is_told_too(services: Services, name: str) -> None:
    sent, status, reason = REQUESTS[name]
    mistake = Mistake(sent, status, reason, "")
    service = services(mistake)
    counted, told = mistake.metric(service), total(mistake.lines(service.log))
    before = len(complaints(service.log))
    assert await answer(service.port, sent) == status
    await until(lambda: total(mistake.lines(service.log)) > told)
    assert mistake.metric(service) == counted + 1
    (line,) = complaints(service.log)[before:]
    assert line == mistake.lines(service.log)[-1]
    assert line["explanation"]
    assert (line["count"], line["peer"], line["address"]) == (1, "127.0.0.1", "127.0.0.1")
    is_handshake = name not in ("POST at health", "GET at the root", "a host that is none")
    assert line["event"] == ("handshake refused" if is_handshake else "request refused")


async def test_what_waits_to_be_told_is_told_when_the_service_stops(process: Any) -> None:
    service = process(START_TIMEOUT_SECONDS="5")
    for _ in range(5):
        assert await answer(service.port, request("/other", b"Connection: close\r\n")) == 404
    assert service.stop() == 0
    assert total(lines_of(service.log, REFUSED)) == 5
