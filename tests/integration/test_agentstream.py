"""The dialect agentstream over real sockets: what is published, and that it never answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import MAX_EARLY_MESSAGES, AgentstreamSender, assert_silence, media, start
from carrier_calls import BAD_STARTS, CALLS, TENANT, call_of, lines, payloads, stream_of
from published import Broker, audio, ends, entries, kinds, starts
from running import Caller, Service, pcm, service_process
from waiting import until, until_published, until_state


@pytest.fixture(autouse=True)
async def silence(no_caller_is_left: None) -> AsyncIterator[None]:
    """Whatever the test is about, the service has answered no sender."""
    yield
    assert_silence()


async def play(service: Service, name: str) -> tuple[AgentstreamSender, int | None]:
    """Send a call from its file, byte for byte; return how it was closed, None if we went away."""
    expected = CALLS[name]
    sender = await AgentstreamSender.dial(service.url, query=expected.query)
    for line in lines(name):
        await sender.say(line if expected.in_binary else line.decode())
    if expected.reason != "disconnected":
        async with asyncio.timeout(2):
            return sender, await sender.closed()
    sender.reset()
    return sender, None


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_as_the_carrier_sends_it_is_published(
    service: Service, broker: Broker, name: str
) -> None:
    expected, stream = CALLS[name], stream_of(name)
    ignored = service.metric("ingest_ignored_messages_total")
    _, code = await play(service, name)
    assert code == (None if expected.reason == "disconnected" else 1000)
    await until(lambda: [e["type"] for _, e in entries(broker, stream, TENANT)][-1:] == ["ended"])
    found = entries(broker, stream, TENANT)
    assert [entry_id for entry_id, _ in found] == [f"1-{n}" for n in range(len(found))]
    assert [entry["type"] for _, entry in found] == expected.kinds.split()
    by_kind: dict[str, list[Any]] = {kind: [] for kind in ("audio", "gap", "signal")}
    for _, entry in found[1:-1]:
        kind = "signal" if entry["type"] in ("dtmf", "mark") else entry["type"]
        by_kind[kind].append(entry)

    started = found[0][1]["data"]
    assert started == {
        "tenant_id": TENANT,
        "interaction_id": call_of(name),
        "stream_id": stream,
        "track": started["track"],
        "dialect": "agentstream",
        "generation": 1,
        "run": started["run"],
        "resumed": False,
        "sample_rate": expected.sample_rate,
        "encoding": expected.encoding,
        "channels": 1,
        "call_sid": call_of(name),
        "from": expected.caller,
        "to": expected.callee,
        "custom_parameters": dict(expected.custom_parameters),
        "started_at": started["started_at"],
    }
    sent = payloads(name)
    assert [(int(entry["seq"]), entry["audio"]) for entry in by_kind["audio"]] == [
        (seq, sent[seq]) for seq in expected.seqs
    ]
    assert [
        (entry["data"]["first_missing"], entry["data"]["missing"]) for entry in by_kind["gap"]
    ] == list(expected.gaps)
    assert [entry["data"] for entry in by_kind["signal"]] == [dict(s) for s in expected.signals]

    size = sum(len(sent[seq]) for seq in expected.seqs)
    width = 1 if expected.encoding == "mulaw" else 2
    published = len(expected.seqs)
    assert found[-1][1]["data"] == {
        "reason": expected.reason,
        "ledger": {
            "received": published + expected.rejected + expected.duplicate,
            "published": published,
            "duplicate": expected.duplicate,
            "rejected": expected.rejected,
            "lost": 0,
            "missing": sum(missing for _, missing in expected.gaps),
            "bytes": size,
            "audio_ms": size * 1000 // (expected.sample_rate * width),
        },
    }
    assert service.metric("ingest_ignored_messages_total") == ignored + expected.ignored


@pytest.mark.parametrize("name", BAD_STARTS)
async def test_a_start_that_cannot_be_used_closes_4400_and_publishes_nothing(
    service: Service, broker: Broker, name: str
) -> None:
    before = int(broker.dbsize())
    sender = await AgentstreamSender.dial(service.url)
    for line in lines(name):
        await sender.say(line.decode())
    assert await sender.closed() == 4400
    assert int(broker.dbsize()) == before


async def test_a_foreign_tenant_is_closed_4403(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(EXOTEL_TENANTS="acmecare2,tenant-abc")
    foreign = await AgentstreamSender.dial(service.url)
    await foreign.begin(name, account_sid=TENANT)
    assert await foreign.closed() == 4403
    assert entries(broker, name, TENANT) == []
    own = await AgentstreamSender.dial(service.url)
    await own.begin(name)
    await own.send_chunks(name, 1)
    assert await own.stop(name) == 1000


async def test_who_does_not_start_in_time_is_closed_4408(start_service: Any) -> None:
    service = start_service(START_TIMEOUT_SECONDS="0.2")
    sender = await AgentstreamSender.dial(service.url)
    await sender.say({"event": "connected"})
    assert await sender.closed() == 4408


async def test_who_falls_silent_is_ended_as_idle_and_closed_4408(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(IDLE_TIMEOUT_SECONDS="0.3")
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1, 2)
    assert await sender.closed() == 4408
    assert kinds(broker, name) == ["started", "audio", "audio", "ended"]
    assert [end["reason"] for end in ends(broker, name)] == ["idle"]


async def test_who_speaks_too_long_is_ended_as_too_long_and_closed_4408(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(MAX_CALL_SECONDS="0.3", IDLE_TIMEOUT_SECONDS="0.3")
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    for chunk in range(1, 5):
        await asyncio.sleep(0.05)
        await sender.send_chunks(name, chunk)
    assert await sender.closed() == 4408
    assert [end["reason"] for end in ends(broker, name)] == ["too_long"]


BAD_FRAMES: list[Any] = [
    "{",
    "",
    "hello",
    b"",
    b"\x00\x01" * 160,
    b'{"event":"media","media":{"chunk":2,"payload":"AAA="},"x":"\xff"}',
    "[]",
    "{}",
    '{"event":7}',
    '{"event":"media"}',
    '{"event":"media","media":[]}',
    '{"event":"media","media":{"chunk":2}}',
    '{"event":"media","media":{"chunk":2,"payload":7}}',
    '{"event":"media","media":{"chunk":2,"payload":""}}',
    '{"event":"media","media":{"chunk":2,"payload":"AAAA"}}',  # three bytes: half a sample
    '{"event":"media","media":{"chunk":2,"payload":"_-8="}}',
    '{"event":"media","media":{"chunk":2,"payload":"AAA"}}',
    '{"event":"media","media":{"chunk":2,"track":7,"payload":"AAA="}}',
    '{"event":"media","stream_sid":"another","media":{"chunk":2,"payload":"AAA="}}',
    '{"event":"dtmf","stream_sid":"another","dtmf":{"digit":"5"}}',
    '{"event":"media","media":{"chunk":2,"payload":"AAA="},"x":'
    + "[" * 50_000
    + "]" * 50_000
    + "}",
    json.dumps({"event": "media", "media": media("", 2, bytes(100_002))["media"]}),
    '{"event":"stop","stream_sid":"another"}',
    '{"event":"start"}',
]


async def test_bad_frames_are_counted_and_dropped_and_the_call_continues(
    service: Service, broker: Broker, name: str
) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    for bad in BAD_FRAMES:
        await sender.say(bad)
    await sender.send_chunks(name, 2)
    assert await sender.stop(name) == 1000
    ledger = ends(broker, name)[0]["ledger"]
    assert (ledger["published"], ledger["rejected"]) == (2, len(BAD_FRAMES))
    assert ledger["received"] == 2 + len(BAD_FRAMES)
    assert audio(broker, name) == [(1, pcm(1)), (2, pcm(2))]


@pytest.mark.parametrize("bad", ["{", b"\xff", '{"event":"media"}', '{"event":"start"}'])
async def test_not_even_two_hundred_bad_frames_in_a_row_close_the_call(
    service: Service, broker: Broker, name: str, bad: str | bytes
) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    for _ in range(200):
        await sender.say(bad)
    assert await sender.is_left_alone()
    await sender.send_chunks(name, 2)
    assert await sender.stop(name) == 1000
    ledger = ends(broker, name)[0]["ledger"]
    assert (ledger["rejected"], ledger["published"]) == (200, 2)


async def test_bad_frames_before_start_are_dropped_and_the_call_begins(
    service: Service, broker: Broker, name: str
) -> None:
    before = service.metric("ingest_frames_total", outcome="rejected")
    sender = await AgentstreamSender.dial(service.url)
    await sender.say({"event": "connected"})
    for _ in range(60):
        await sender.say("{")
    assert await sender.is_left_alone()
    await sender.say(start(name))
    await sender.send_chunks(name, 1)
    assert await sender.stop(name) == 1000
    assert kinds(broker, name) == ["started", "audio", "ended"]
    assert service.metric("ingest_frames_total", outcome="rejected") == before + 60


async def test_a_second_start_is_refused_and_counted_whether_good_or_bad(
    service: Service, broker: Broker, name: str
) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1)
    await sender.say(start(name))
    await sender.say(start(f"{name}-other"))
    await sender.say(start(name, account_sid="no/body"))
    await sender.send_chunks(name, 2)
    assert await sender.stop(name) == 1000
    assert kinds(broker, name) == ["started", "audio", "audio", "ended"]
    assert ends(broker, name)[0]["ledger"]["rejected"] == 3
    assert entries(broker, f"{name}-other") == []


async def test_what_comes_before_start_is_held_and_published_after_it_in_order(
    service: Service, broker: Broker, name: str
) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.send_chunks(name, *range(1, 26))
    await sender.say({"event": "dtmf", "dtmf": {"digit": "9"}})
    await sender.send_chunks(name, *range(26, MAX_EARLY_MESSAGES))
    assert await sender.is_left_alone()
    assert entries(broker, name) == []
    await sender.say(start(name))
    await sender.send_chunks(name, *range(MAX_EARLY_MESSAGES, 61))
    assert await sender.stop(name) == 1000
    assert kinds(broker, name) == ["started", *["audio"] * 25, "dtmf", *["audio"] * 35, "ended"]
    assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in range(1, 61)]


async def test_of_what_comes_before_start_only_fifty_frames_are_held(
    service: Service, broker: Broker, name: str
) -> None:
    before = service.metric("ingest_frames_total", outcome="rejected")
    sender = await AgentstreamSender.dial(service.url)
    await sender.send_chunks(name, *range(1, 71))
    await sender.say(start(name))
    await sender.send_chunks(name, 71)
    assert await sender.stop(name) == 1000
    assert [seq for seq, _ in audio(broker, name)] == [*range(1, MAX_EARLY_MESSAGES + 1), 71]
    gap = next(entry["data"] for _, entry in entries(broker, name) if entry["type"] == "gap")
    assert gap == {"first_missing": 51, "missing": 20}
    assert ends(broker, name)[0]["ledger"]["missing"] == 20
    assert service.metric("ingest_frames_total", outcome="rejected") == before + 20


async def test_a_stop_without_a_start_closes_1000_and_publishes_nothing(
    service: Service, broker: Broker, name: str
) -> None:
    before = int(broker.dbsize())
    sender = await AgentstreamSender.dial(service.url)
    await sender.say({"event": "connected"})
    assert await sender.stop(name) == 1000
    assert int(broker.dbsize()) == before


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_socket_that_dies_without_stop_is_ended_as_disconnected_after_its_time(
    start_service: Any, broker: Broker, name: str, how: str
) -> None:
    service = start_service(RESUME_SECONDS="0.5")
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1, 2)
    await until_published(broker, name, 2)
    if how == "reset":
        sender.reset()
    else:
        await sender.socket.close(1000)
    await until_state(broker, name, "cut")
    assert ends(broker, name) == []
    await until_state(broker, name, "ended")
    assert [end["reason"] for end in ends(broker, name)] == ["disconnected"]
    assert ends(broker, name)[0]["ledger"]["published"] == 2
    await until(lambda: service.metric("ingest_streams", dialect="agentstream") == 0)


async def test_a_call_survives_while_others_beside_it_break(
    service: Service, broker: Broker, name: str
) -> None:
    sender, rude, gone, foreign = [await AgentstreamSender.dial(service.url) for _ in range(4)]
    other = await Caller.dial(service.url)
    await sender.begin(name)
    await rude.begin(f"{name}-rude")
    await gone.begin(f"{name}-gone")
    await foreign.begin(f"{name}-foreign", media_format={"encoding": "opus"})
    await other.start(f"{name}-exostreamkit")
    for chunk in range(1, 41):
        await sender.send_chunks(name, chunk)
        await rude.say(BAD_FRAMES[chunk % len(BAD_FRAMES)])
        if chunk <= 20:
            await gone.send_chunks(f"{name}-gone", chunk)
            await other.speak(chunk)
        if chunk == 20:
            gone.reset()
            other.reset()
    assert await sender.stop(name) == 1000
    assert await foreign.closed() == 4400
    assert await rude.stop(f"{name}-rude", "stopped") == 1000
    assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in range(1, 41)]
    assert ends(broker, name)[0]["ledger"]["received"] == 40
    assert ends(broker, f"{name}-rude")[0]["ledger"]["rejected"] == 40
    await until_state(broker, f"{name}-gone", "ended")


async def test_a_sender_far_faster_than_real_time_loses_nothing(
    service: Service, broker: Broker, name: str
) -> None:
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, *range(1, 2_001))
    await sender.say({"event": "stop", "stream_sid": name})
    assert await sender.closed() == 1000
    assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in range(1, 2_001)]


async def test_a_callers_number_is_in_the_started_entry_and_in_no_log_line(
    valkey: Any, broker: Broker, name: str, tmp_path: Path
) -> None:
    caller, callee, token = "+919812345999", "08045670777", "s3cretinthequery"
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "RESUME_SECONDS": "0.2",
        "LOG_LEVEL": "debug",
    }
    details: dict[str, Any] = {"from": caller, "to": callee, "custom_parameters": {"who": caller}}
    log = tmp_path / "log"
    with service_process(environment, log) as service:
        query = f"token={token}&sample-rate=16000"
        sender = await AgentstreamSender.dial(service.url, query=query)
        await sender.begin(name, **details)
        await sender.send_chunks(name, 1, 2)
        for bad in (start(name, **details), f'{{"event":"media","x":"{caller}"', b"\xff"):
            await sender.say(bad)
        await sender.say({"event": "dtmf", "dtmf": {"digit": "5", "whom": caller}})
        await sender.say({"event": "silence", "from": caller})
        assert await sender.stop(name) == 1000
        for odd in ({"account_sid": caller + ":"}, {"call_sid": caller + "/"}):
            refused = await AgentstreamSender.dial(service.url, query=query)
            await refused.begin(f"{name}-refused", **{**details, **odd})
            assert await refused.closed() == 4400
        lost = await AgentstreamSender.dial(service.url, query=query)
        await lost.begin(f"{name}-lost", **{**details, "media_format": {"sample_rate": caller}})
        await lost.send_chunks(f"{name}-lost", 1)
        await until_published(broker, f"{name}-lost", 1)
        lost.reset()
        await until_state(broker, f"{name}-lost", "ended")
        service.stop()
    started = starts(broker, name)[0]
    assert (started["from"], started["to"], started["custom_parameters"]) == (
        (caller, callee, {"who": caller})
    )
    written = log.read_text()
    for secret in (caller, caller[1:], callee, token, "sample-rate="):
        assert secret not in written
    assert '"tenant_id": "tenant-abc"' in written
    assert f'"stream_id": "{name}"' in written
    assert "the sample rate of the query is not that of start, which counts" in written
    assert "no usable sample_rate in start" in written
