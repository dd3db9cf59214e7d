"""What the service decides is told to the operator: one count, one log line, bounded in a flood."""

import asyncio
import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from log_lines import CLOSED, REFUSED, Line, complaints_of, lines_of, seconds_between, total
from raw_peer import BINARY, FIN, MASKED, TEXT, frame, read_close
from running import Caller, Keys, Service, ServiceProcess, audio_message, pcm, start_message
from waiting import until, until_state

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

LIMIT_SECONDS = 20.0
FLOOD = 200
AT_ONCE = 100
"""How many of a flood are under way at a time."""

HEAD = b"Host: x\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
SECRET = "s3cret-that-is-in-no-line"


def request(path: str = "/v1/ingest", more: bytes = b"", *, upgrade: bytes = UPGRADE) -> bytes:
    target = f"{path}?token={SECRET}".encode()
    return b"GET " + target + b" HTTP/1.1\r\n" + HEAD + upgrade + KEY + more + b"\r\n"


def basic(user: str, password: str) -> bytes:
    pair = base64.b64encode(f"{user}:{password}".encode())
    return b"Authorization: Basic " + pair + b"\r\n"


PAIR = basic("key", "word")


def text(message: Any) -> bytes:
    return frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode())


def agentstream_start(**fields: Any) -> dict[str, Any]:
    start = {"call_sid": "call-1", "account_sid": "acct", "stream_sid": "stream-1", **fields}
    return {"event": "start", "start": {k: v for k, v in start.items() if v is not None}}


async def answer(port: int, sent: bytes) -> int:
    """Send a request, and return the status of its answer once the connection is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            writer.write(sent)
            received = await reader.read()
    finally:
        writer.close()
    return int(received.split(b" ", 2)[1])


async def close_code(port: int, sent: bytes, frames: bytes) -> int:
    """Shake hands, send frames, and return the code of the close."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(LIMIT_SECONDS):
            await loop.sock_sendall(sock, sent)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(sock, 1)
            assert head.startswith(b"HTTP/1.1 101"), head
            await loop.sock_sendall(sock, frames)
            return await read_close(sock)


@dataclass(frozen=True)
class Mistake:
    """What a sender does wrong, and what the operator is told of it."""

    sent: bytes
    status: int
    """Of the answer, or the code of the close."""
    reason: str
    explanation: str
    frames: bytes = b""
    facts: tuple[tuple[str, object], ...] = ()
    bad_hops: bool = False

    @property
    def is_close(self) -> bool:
        return self.status >= 1000

    async def make(self, port: int) -> None:
        if self.is_close:
            assert await close_code(port, self.sent, self.frames) == self.status
        else:
            assert await answer(port, self.sent) in (self.status, 429)

    def metric(self, service: ServiceProcess) -> float:
        if self.is_close:
            code = str(self.status)
            return service.metric("ingest_closes_total", code=code, reason=self.reason)
        return service.metric("ingest_handshakes_total", outcome=self.reason)

    def lines(self, log: Path) -> list[Line]:
        kind = "code" if self.is_close else "status"
        events = CLOSED if self.is_close else REFUSED
        return [
            line
            for line in lines_of(log, events)
            if (line[kind], line["reason"]) == (self.status, self.reason)
        ]


ACCT = (("tenant_id", "acct"), ("interaction_id", "call-1"), ("stream_id", "stream-1"))
MISTAKES = {
    "wrong tenant": Mistake(
        request(more=PAIR),
        4403,
        "not_allowed",
        "this tenant may not be started without a token: EXOTEL_TENANTS does not name it",
        text({"event": "connected"}) + text(agentstream_start(account_sid="other")),
        (("dialect", "agentstream"), ("tenant_id", "other"), *ACCT[1:]),
    ),
    "codec": Mistake(
        request(more=PAIR),
        4400,
        "bad_start",
        "media_format.encoding is neither linear PCM nor mu-law",
        text(agentstream_start(media_format={"encoding": "audio/opus"})),
        (("dialect", "agentstream"), *ACCT),
    ),
    "no account": Mistake(
        request(more=PAIR),
        4400,
        "bad_start",
        "account_sid is absent",
        text({"event": "connected"}) + text(agentstream_start(account_sid=None)),
        (("dialect", "agentstream"), *ACCT[1:]),
    ),
    "rate": Mistake(
        request(more=PAIR),
        4400,
        "bad_start",
        "sample_rate must be one of",
        text(start_message("call-1", "acct", sample_rate=11_025)),
        (("dialect", "exostreamkit"), *ACCT[:2], ("stream_id", "call-1")),
    ),
    "wrong token": Mistake(
        request(more=b"Authorization: Bearer a.b.c\r\n"), 401, "unauthenticated", "token refused"
    ),
    "wrong pair": Mistake(
        request(more=basic("someuser", "wrong")), 401, "unauthenticated", "wrong user name"
    ),
    "address": Mistake(
        request(more=PAIR + b"X-Forwarded-For: 198.51.100.7:4711\r\n"),
        403,
        "address_refused",
        "not among those allowed",
        facts=(("address", "198.51.100.7"), ("forwarded_entry", "198.51.100.7:4711")),
    ),
    "hops wrong": Mistake(
        request(more=PAIR + b"X-Forwarded-For: 198.51.100.7\r\n"),
        403,
        "address_unknown",
        "cannot be told",
        facts=(("forwarded_entries", 1), ("trusted_proxy_hops", 2), ("forwarded_entry", None)),
        bad_hops=True,
    ),
    "wrong path": Mistake(
        request("/v1/Ingest"), 404, "wrong_path", "/v1/ingest", facts=(("path", "/v1/Ingest"),)
    ),
    "proxy without Upgrade": Mistake(
        request(upgrade=b"Connection: close\r\n"), 426, "no_upgrade", "Upgrade: websocket"
    ),
    "silence": Mistake(request(more=PAIR), 4408, "no_start", "START_TIMEOUT_SECONDS"),
}


@pytest.fixture(scope="module")
def services(
    valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> Iterator[Callable[[Mistake], ServiceProcess]]:
    """Processes that let in who is right, behind one proxy, and behind two that are not there."""
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "key",
        "EXOTEL_PASSWORD": "word",
        "EXOTEL_TENANTS": "acct",
        "EXOTEL_ALLOWED_IPS": "127.0.0.0/8",
        "JWT_PUBLIC_KEY": keys.public_pem,
        "START_TIMEOUT_SECONDS": "1",
        "RESUME_SECONDS": "0.2",
        "LOG_LEVEL": "debug",
    }
    logs = tmp_path_factory.mktemp("logs")
    running = {
        hops: ServiceProcess({**environment, "TRUSTED_PROXY_HOPS": hops}, logs / hops)
        for hops in ("1", "2")
    }
    for service in running.values():
        service.wait_until_ready()
    yield lambda mistake: running["2" if mistake.bad_hops else "1"]
    for service in running.values():
        service.kill()
        written = service.log.read_text()
        for secret in (SECRET, "token=", "someuser", "Basic ", "Traceback"):
            assert secret not in written


def complaints(log: Path) -> list[Line]:
    """Warnings and worse, but for the one that a sender came past the proxies: most here do."""
    return [line for line in complaints_of(log) if "X-Forwarded-For" not in line["event"]]


Services = Callable[[Mistake], ServiceProcess]


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_one_line_that_names_its_cause_and_one_metric(
    services: Services, name: str
) -> None:
    mistake = MISTAKES[name]
    service = services(mistake)
    counted, lines, before = (
        mistake.metric(service),
        mistake.lines(service.log),
        complaints(service.log),
    )
    await mistake.make(service.port)
    await until(lambda: len(mistake.lines(service.log)) > len(lines))
    assert mistake.metric(service) == counted + 1
    (line,) = complaints(service.log)[len(before) :]
    assert line == mistake.lines(service.log)[-1]
    assert mistake.explanation in line["explanation"]
    assert line["peer"] == "127.0.0.1"
    expected: dict[str, object] = {"count": 1, "address": None if mistake.bad_hops else "127.0.0.1"}
    expected |= dict(mistake.facts)
    assert {key: line[key] for key in expected} == expected
    names = {"tenant_id", "interaction_id", "stream_id", "dialect"}
    assert names & line.keys() == names & expected.keys()


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_flood_of_a_mistake_is_at_most_a_line_a_second_that_says_how_many(
    services: Services, name: str
) -> None:
    mistake = MISTAKES[name]
    service = services(mistake)
    refused = len(lines_of(service.log, (*REFUSED, *CLOSED)))
    counted = mistake.metric(service)
    turns = asyncio.Semaphore(AT_ONCE)

    async def make() -> None:
        async with turns:
            await mistake.make(service.port)

    await asyncio.gather(*(make() for _ in range(FLOOD)))

    def lines() -> list[Line]:
        return lines_of(service.log, (*REFUSED, *CLOSED))[refused:]

    await until(lambda: total(lines()) >= FLOOD)
    assert total(lines()) == FLOOD
    too_many = [line for line in lines() if line["reason"] == "too_many_failures"]
    assert mistake.metric(service) == counted + FLOOD - total(too_many)
    of_kind = mistake.lines(service.log)
    assert all(seconds > 0.95 for seconds in seconds_between(of_kind))
    assert all(seconds > 0.95 for seconds in seconds_between(too_many))
    assert all(mistake.explanation in line["explanation"] for line in lines())


async def test_a_refused_address_tells_that_proxies_are_trusted_and_sent_no_header(
    process: Any,
) -> None:
    service = process(TRUSTED_PROXY_HOPS="2", EXOTEL_ALLOWED_IPS="10.0.0.0/8")
    assert await answer(service.port, request()) == 403
    await until(lambda: lines_of(service.log, REFUSED))
    (line,) = lines_of(service.log, REFUSED)
    assert (line["reason"], line["address"]) == ("address_refused", "127.0.0.1")
    assert (line["forwarded_entries"], line["trusted_proxy_hops"]) == (0, 2)
    assert "no X-Forwarded-For came, TRUSTED_PROXY_HOPS is 2" in line["explanation"]


async def test_what_comes_past_the_trusted_proxies_is_warned_of_once_a_minute(process: Any) -> None:
    service = process(TRUSTED_PROXY_HOPS="2")
    for _ in range(3):
        assert await close_code(service.port, request(), text({"event": "hi"})) == 4400
    forwarded = request(more=b"X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n")
    assert await close_code(service.port, forwarded, text({"event": "hi"})) == 4400

    def warned() -> list[Line]:
        return [line for line in complaints_of(service.log) if "X-Forwarded-For" in line["event"]]

    await until(lambda: total(lines_of(service.log, CLOSED)) == 4)  # seconds have passed
    assert [line["count"] for line in warned()] == [1]
    assert (warned()[0]["address"], warned()[0]["forwarded_entries"]) == ("127.0.0.1", 0)
    assert service.stop() == 0
    assert [line["count"] for line in warned()] == [1, 2]


@pytest.mark.parametrize(
    ("first", "code"), [(text(start_message("int-2", "other")), 4403), (b"", 4408)]
)
async def test_a_close_before_the_start_names_the_tenant_and_interaction_of_the_token(
    services: Services, keys: Keys, first: bytes, code: int
) -> None:
    bearer = keys.bearer(tenant_id="acct", interaction_id="int-1")["Authorization"]
    sent = request(more=f"Authorization: {bearer}\r\n".encode())
    mistake = Mistake(sent, code, "not_allowed" if first else "no_start", "", first)
    service = services(mistake)

    def told() -> list[Line]:
        return [line for line in mistake.lines(service.log) if "token_tenant_id" in line]

    await mistake.make(service.port)
    await until(told)
    (line,) = told()
    assert (line["token_tenant_id"], line["token_interaction_id"]) == ("acct", "int-1")
    assert line.get("tenant_id") == ("other" if first else None)


async def test_a_flood_of_odd_starts_is_at_most_a_line_a_second_that_says_what_was_received(
    process: Any, name: str
) -> None:
    service = process()
    before = len(complaints_of(service.log))
    stop = text({"event": "stop", "stop": {"reason": "callended"}})
    turns = asyncio.Semaphore(AT_ONCE // 4)

    async def call(number: int) -> None:
        start = agentstream_start(
            stream_sid=f"{name}-{number}", media_format={"sample_rate": "44100"}
        )
        async with turns:
            assert await close_code(service.port, request(), text(start) + stop) == 1000

    await asyncio.gather(*(call(number) for number in range(FLOOD)))

    def lines() -> list[Line]:
        return lines_of(service.log, ("odd start",))

    await until(lambda: total(lines()) == FLOOD)
    assert service.metric("ingest_odd_starts_total", oddity="rate_assumed") == FLOOD
    assert len(complaints_of(service.log)) == before + len(lines())
    assert all(seconds > 0.95 for seconds in seconds_between(lines()))
    line = lines()[0]
    expected = {
        "oddity": "rate_assumed",
        "sample_rate": 8000,
        "start_sample_rate": 44100,
        "query_sample_rate": None,
        "peer": "127.0.0.1",
        "tenant_id": "acct",
        "interaction_id": "call-1",
        "dialect": "agentstream",
        "count": 1,
    }
    assert {key: line[key] for key in expected} == expected


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


def fragment(opcode: int, payload: bytes, *, fin: bool) -> bytes:
    whole = frame(opcode, payload)
    return bytes([(FIN if fin else 0) | opcode]) + whole[1:]


BROKEN = {
    "an unmasked frame": (frame(TEXT, b"{}", masked=False), 1002, "protocol_error"),
    "reserved bits": (frame(TEXT, b"{}", rsv1=True), 1002, "protocol_error"),
    "text that is not UTF-8": (frame(TEXT, b"\xff"), 1007, "not_utf8"),
    "fragments that are not UTF-8": (
        fragment(TEXT, b"{\xff", fin=False) + fragment(0, b"}", fin=True),
        1007,
        "not_utf8",
    ),
    "a close that is not UTF-8": (frame(8, b"\x03\xe8\xff"), 1007, "not_utf8"),
    "fragments without end": (
        fragment(TEXT, b"", fin=False) + fragment(0, b"", fin=False) * 2_000,
        1008,
        "too_many_fragments",
    ),
    "refused messages": (text({"event": "audio"}) * 60, 1008, "too_many_refused"),
    "a text of 300 kB": (frame(TEXT, b" " * 300_000), 1009, "too_big"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_call_that_is_closed_for_what_it_sends_is_told_with_its_names(
    services: Services, name: str
) -> None:
    frames, code, reason = BROKEN[name]
    began = text(start_message("broken", "acct"))
    mistake = Mistake(request(more=PAIR), code, reason, "", began + frames)
    service = services(mistake)
    counted, told = mistake.metric(service), total(mistake.lines(service.log))
    before = len(complaints(service.log))
    await mistake.make(service.port)
    await until(lambda: total(mistake.lines(service.log)) > told)
    assert mistake.metric(service) == counted + 1
    told_since = complaints(service.log)[before:]
    (line,) = [line for line in told_since if not line["event"].startswith("refused: ")]
    assert line == mistake.lines(service.log)[-1]
    assert line["explanation"]
    expected = {
        "peer": "127.0.0.1",
        "address": "127.0.0.1",
        "tenant_id": "acct",
        "interaction_id": "broken",
        "stream_id": "broken",
        "dialect": "exostreamkit",
    }
    assert {key: line[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("first", "code", "reason", "explanation"),
    [
        (frame(TEXT, b"hello"), 1007, "not_json", "not JSON"),
        (frame(BINARY, b"\0\0"), 4400, "unknown_dialect", "not a JSON object"),
        (text({"event": "hi"}), 4400, "unknown_dialect", "'event' is known to none"),
        (text({"EVENT": "start"}), 4400, "unknown_dialect", "'event' is absent"),
        (text({"event": "start"}), 4400, "unknown_dialect", "names neither"),
        (text(audio_message(0, b"ab")), 4400, "audio_before_start", "audio before start"),
    ],
)
async def test_a_first_message_that_cannot_be_used_is_told(
    services: Services, first: bytes, code: int, reason: str, explanation: str
) -> None:
    mistake = Mistake(request(more=PAIR), code, reason, explanation, first)
    service = services(mistake)
    told = total(mistake.lines(service.log))
    await mistake.make(service.port)
    await until(lambda: total(mistake.lines(service.log)) > told)
    assert explanation in mistake.lines(service.log)[-1]["explanation"]


async def test_pings_whose_answers_are_not_read_are_told(services: Services) -> None:
    mistake = Mistake(b"", 1008, "pongs_unread", "")
    service = services(mistake)
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", service.port))
        await loop.sock_sendall(sock, request(more=PAIR) + text(start_message("pings", "acct")))
        ping = bytes([FIN | 9, MASKED | 125]) + bytes(4) + b"p" * 125

        async def send_for_ever() -> None:
            while True:
                await loop.sock_sendall(sock, ping * 1_000)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_for_ever(), LIMIT_SECONDS)
    await until(lambda: mistake.lines(service.log))
    (line,) = mistake.lines(service.log)
    assert (line["interaction_id"], mistake.metric(service)) == ("pings", 1)


async def test_frames_of_a_sender_that_is_not_allowed_are_rejected_and_none_is_lost(
    start_service: Any,
) -> None:
    service = start_service(EXOTEL_TENANTS="acct")
    media = {"event": "media", "media": {"payload": base64.b64encode(pcm(1)).decode()}}
    handshake = request()
    other = text(agentstream_start(account_sid="other")) + text(media) * 139
    assert await close_code(service.port, handshake, other) == 4403
    rejected = service.metric("ingest_frames_total", outcome="rejected", reason="not_allowed")
    early = text({"event": "connected"}) + text(media) * 7
    bad = text(agentstream_start(media_format={"encoding": "audio/opus"}))
    assert await close_code(service.port, handshake, early + bad) == 4400
    before_start = text(audio_message(0, b"ab"))
    assert await close_code(service.port, handshake, before_start) == 4400
    assert rejected >= 1
    assert service.metric("ingest_frames_total", outcome="rejected", reason="bad_start") == 8
    assert service.metric("ingest_frames_total", outcome="received") == rejected + 8
    assert service.metric("ingest_frames_total", outcome="lost") == 0


async def test_every_line_of_a_call_has_its_names_and_the_first_its_peer(
    process: Any, broker: Any, name: str
) -> None:
    service = process(RESUME_SECONDS="1", EXOTEL_TENANTS="tenant-abc")
    first = await Caller.dial(service.url)
    await first.start(name)
    await first.speak(0)
    second = await Caller.dial(service.url)
    await second.start(name, resume=True)
    assert await first.closed() == 4409
    await second.speak(1)
    await second.hear_ack(1)
    second.reset()
    await until_state(broker, name, "ended")

    def lines() -> list[Line]:
        named = ("tenant_id", "interaction_id", "stream_id", "dialect")
        return [
            line
            for line in lines_of(service.log)
            if [line.get(it) for it in named] == ["tenant-abc", name, name, "exostreamkit"]
        ]

    await until(lambda: any(line["event"] == "stream ended" for line in lines()))
    assert [line["event"] for line in lines()] == [
        "stream started",
        "stream started",
        "connection closed",
        "stream cut: it waits for its sender",
        "stream ended",
    ]
    assert [line.get("peer") for line in lines()] == ["127.0.0.1"] * 3 + [None] * 2
    assert (lines()[2]["code"], lines()[2]["reason"]) == (4409, "superseded")
    assert service.metric("ingest_closes_total", code="4409", reason="superseded") == 1


async def test_closes_that_are_expected_are_counted_and_not_logged(process: Any, name: str) -> None:
    service = process()
    ended = await Caller.dial(service.url)
    await ended.start(name)
    await ended.end()
    assert await ended.closed() == 1000
    assert service.metric("ingest_closes_total", code="1000", reason="ended") == 1
    told = await Caller.dial(service.url)
    await told.start(f"{name}-drained")
    held = await Caller.dial(service.url)
    await held.say({"event": "connected"})
    service.process.terminate()
    assert await told.closed() == 1012
    assert service.metric("ingest_closes_total", code="1012", reason="restart") == 1
    await held.socket.close()
    assert service.process.wait(LIMIT_SECONDS) == 0
    assert lines_of(service.log, CLOSED) == []


async def test_what_waits_to_be_told_is_told_when_the_service_stops(process: Any) -> None:
    service = process(START_TIMEOUT_SECONDS="5")
    for _ in range(5):
        assert await answer(service.port, request("/other", b"Connection: close\r\n")) == 404
    assert service.stop() == 0
    assert total(lines_of(service.log, REFUSED)) == 5


async def test_a_bug_is_told_with_its_traceback_and_not_to_the_sender(
    start_service: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    service: Service = start_service()
    records: list[Any] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    logger = logging.getLogger("adapters.inbound.reporting.reports")
    logger.addHandler(handler)

    def fail(*_: Any) -> Any:
        raise LookupError("a detail")

    try:
        monkeypatch.setattr("adapters.inbound.websocket.connection.recognise", fail)
        caller = await Caller.dial(service.url)
        await caller.start(name, wait=False)
        assert await caller.closed() == 1011
        assert caller.socket.close_reason == ""
        monkeypatch.setattr("adapters.inbound.access.gate.read_credential", fail)
        assert await answer(service.port, request()) == 500
        monkeypatch.setattr("adapters.inbound.http.routes.Liveness", fail)
        assert service.get("/health/live")[0] == 500
        await until(lambda: len(records) == 3)
    finally:
        logger.removeHandler(handler)
    assert [(record.levelname, record.reason) for record in records] == [
        ("ERROR", "bug"),
        ("ERROR", "failed"),
        ("ERROR", "failed"),
    ]
    assert {record.exc_info[0] for record in records} == {LookupError}
    assert service.metric("ingest_closes_total", code="1011", reason="bug") == 1


@pytest.mark.parametrize("path", ["/v1/ingest/", "//v1/ingest", "/v1//ingest"])
async def test_slashes_that_are_doubled_or_at_the_end_do_not_matter(
    services: Services, path: str
) -> None:
    service = services(MISTAKES["rate"])
    assert await close_code(service.port, request(path, PAIR), frame(TEXT, b"hello")) == 1007
