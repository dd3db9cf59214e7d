"""What the operator is told of calls: why they were closed, with their names, and of bugs."""

import asyncio
import base64
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from log_lines import CLOSED, Line, lines_of, total
from raw_peer import BINARY, FIN, MASKED, TEXT, frame
from running import Caller, Keys, Service, audio_message, pcm, start_message
from told_mistakes import (
    LIMIT_SECONDS,
    PAIR,
    Mistake,
    Services,
    agentstream_start,
    answer,
    close_code,
    complaints,
    request,
    telling_services,
    text,
)
from waiting import until, until_state

from adapters.outbound.redis_streams.embedded import EmbeddedValkey


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


@pytest.fixture(scope="module")
def services(
    valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> Iterator[Services]:
    logs = tmp_path_factory.mktemp("logs")
    with telling_services(valkey.url, keys.public_pem, logs) as services:
        yield services


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


@pytest.mark.parametrize(
    ("hops", "header", "told"),
    [
        ("0", {"X-Forwarded-For": "203.0.113.7"}, "with X-Forwarded-For although"),
        ("1", {}, "without X-Forwarded-For although"),
    ],
)
async def test_proxies_that_are_miscounted_are_told_once_a_minute(
    process: Any, hops: str, header: dict[str, str], told: str
) -> None:
    service = process(TRUSTED_PROXY_HOPS=hops)
    for _ in range(3):
        caller = await Caller.dial(service.url, header)
        await caller.socket.close()
    service.process.terminate()
    assert await asyncio.to_thread(service.process.wait, LIMIT_SECONDS) == 0
    lines = [line for line in lines_of(service.log) if line["event"].startswith("accepted ")]
    assert [line["count"] for line in lines] == [1, 2]
    for line in lines:
        assert told in line["event"]
        assert (line["address"], line["trusted_proxy_hops"]) == ("127.0.0.1", int(hops))


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
