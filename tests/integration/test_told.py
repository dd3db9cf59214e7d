"""What the service decides is told to the operator: one count, one log line, bounded in a flood."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from log_lines import CLOSED, REFUSED, Line, complaints_of, lines_of, seconds_between, total
from raw_peer import TEXT, frame
from running import Keys, start_message
from told_mistakes import (
    AT_ONCE,
    FLOOD,
    PAIR,
    Mistake,
    Services,
    agentstream_start,
    answer,
    basic,
    close_code,
    complaints,
    request,
    telling_services,
    text,
)
from waiting import until

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

pytestmark = pytest.mark.long(20)

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
) -> Iterator[Services]:
    logs = tmp_path_factory.mktemp("logs")
    with telling_services(valkey.url, keys.public_pem, logs) as services:
        yield services


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
    found = mistake.lines(service.log)
    of_kind = [line for line in found if mistake.explanation in line["explanation"]]
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


@pytest.mark.parametrize("path", ["/v1/ingest/", "//v1/ingest", "/v1//ingest"])
async def test_slashes_that_are_doubled_or_at_the_end_do_not_matter(
    services: Services, path: str
) -> None:
    service = services(MISTAKES["rate"])
    assert await close_code(service.port, request(path, PAIR), frame(TEXT, b"hello")) == 1007
