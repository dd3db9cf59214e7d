"""A broker that is away for longer than the buffers hold, or while calls begin and end."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from broker_lab import BrokerLab
from log_lines import lines_of
from published import audio, entries, facts
from running import Caller, pcm
from waiting import until, until_state


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


def started_on(start: Any, lab: BrokerLab, **variables: str) -> Any:
    """Start a service in this process, or as one of its own."""
    return start(**{"REDIS_URL": lab.url, "RESUME_SECONDS": "1", "ACK_INTERVAL": "1", **variables})


async def test_a_sender_that_comes_back_is_closed_1013_when_nothing_is_confirmed_for_long(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_SECONDS="1")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(19)
    lab.kill()
    await caller.speak(*range(20, 30))
    assert await caller.closed() == 1013
    assert [r["seq"] for r in caller.replies if r["event"] == "ack"][-1] == 19
    lab.start()
    with lab.client() as broker:
        await until_state(broker, name, "ended")
        assert [seq for seq, _ in audio(broker, name)] == list(range(30))  # buffered, and not lost
        ended = entries(broker, name)[-1][1]["data"]
        assert (ended["reason"], ended["ledger"]["lost"]) == ("broker_lost", 0)


async def test_a_resume_after_1013_stores_nothing_twice(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_SECONDS="1", RESUME_SECONDS="10")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    lab.kill()
    await caller.speak(*range(10, 15))
    assert await caller.closed() == 1013
    lab.start()
    again = await Caller.dial(service.url)  # the handshake waits for the broker
    assert (await again.start(name, resume=True))["last_seq"] == 14
    await again.speak(*range(10, 20))  # what was not acknowledged is sent once more
    ledger = await again.end()
    assert (ledger["published"], ledger["duplicate"], ledger["missing"]) == (20, 5, 0)
    with lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(20)]


async def test_a_sender_that_comes_back_is_not_read_while_buffers_are_full(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_SECONDS="3")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    lab.freeze()
    try:
        frames = 400  # 40 s of audio, flat out
        speaking = asyncio.create_task(caller.speak(*range(frames), size=1_600))
        await until(lambda: service.metric("ingest_buffered_bytes") >= 3 * 16_000)
        received = service.metric("ingest_frames_total", outcome="received")
        assert received <= 3 * 16_000 / 1_600 + 1
        assert service.metric("ingest_buffered_bytes") <= 3 * 16_000 + 1_600
    finally:
        lab.thaw()
    await speaking
    ledger = await caller.end()
    assert (ledger["published"], ledger["lost"], ledger["missing"]) == (frames, 0, 0)


async def test_all_streams_together_are_bounded_too(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_BYTES=str(1024 * 1024))
    callers = [await Caller.dial(service.url) for _ in range(3)]
    for number, caller in enumerate(callers):
        await caller.start(f"{name}-{number}")
    lab.freeze()
    try:
        speaking = [
            asyncio.create_task(caller.speak(*range(100), size=9_600)) for caller in callers
        ]
        await until(lambda: service.metric("ingest_buffered_bytes") >= 1024 * 1024)
        assert service.metric("ingest_buffered_bytes") <= 1024 * 1024 + 3 * 9_600
    finally:
        lab.thaw()
    await asyncio.gather(*speaking)
    for caller in callers:
        assert (await caller.end())["published"] == 100


def media(chunk: int) -> dict[str, Any]:
    payload = base64.b64encode(pcm(chunk)).decode()
    return {"event": "media", "media": {"chunk": str(chunk), "payload": payload}}


def carrier_start(name: str) -> dict[str, Any]:
    start = {"call_sid": name, "account_sid": "tenant-abc", "stream_sid": name}
    return {"event": "start", "stream_sid": name, "start": start}


async def test_a_carrier_is_read_on_when_buffers_are_full_and_what_is_lost_is_one_gap(
    process: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(process, lab, BUFFER_SECONDS="1")
    carrier = await Caller.dial(service.url)
    await carrier.say(carrier_start(name))
    await carrier.say(media(1))
    with lab.client() as broker:
        await until(lambda: facts(broker, name).get("last_seq") == "1")
    lab.kill()
    chunk = 1
    while service.metric("ingest_frames_total", outcome="lost") < 20:
        chunk += 1
        await carrier.say(media(chunk))
        await asyncio.sleep(0.02)
        assert chunk < 1_000, "nothing was dropped"
    lab.start()
    await until(lambda: service.metric("ingest_buffered_bytes") == 0)
    await carrier.say(media(chunk + 1))
    await carrier.say({"event": "stop", "stop": {"reason": "callended"}})
    assert await carrier.closed() == 1000
    assert carrier.replies == []
    with lab.client() as broker:
        found = [e for _, e in entries(broker, name)]
        chunks = [int(e["seq"]) for e in found if e["type"] == "audio"]
        (gap,) = [e["data"] for e in found if e["type"] == "gap"]
        first, lost = gap["first_missing"], gap["missing"]
        assert chunks == [*range(1, first), *range(first + lost, chunk + 2)]
        ledger = found[-1]["data"]["ledger"]
        assert ledger["lost"] == ledger["missing"] == lost >= 20
        assert ledger["published"] == len(chunks)
    told = [line for line in lines_of(service.log) if line["event"].startswith("audio is ")]
    assert [(line["event"], line.get("lost_frames")) for line in told] == [
        ("audio is dropped: the buffers are full", None),
        ("audio is dropped no more", lost),
    ]
    names = {"tenant_id": "tenant-abc", "interaction_id": name, "stream_id": name}
    for line in told:
        assert line.items() >= {**names, "dialect": "agentstream", "count": 1}.items()


async def test_a_call_that_ends_while_its_audio_is_dropped_declares_it_before_the_end(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_SECONDS="1")
    carrier = await Caller.dial(service.url)
    await carrier.say(carrier_start(name))
    await carrier.say(media(1))
    with lab.client() as broker:
        await until(lambda: facts(broker, name).get("last_seq") == "1")
    lab.kill()
    chunk = 1
    while service.metric("ingest_frames_total", outcome="lost") == 0:
        chunk += 1
        await carrier.say(media(chunk))
        await asyncio.sleep(0.02)
    await carrier.say({"event": "stop"})
    lab.start()
    assert await carrier.closed() == 1000
    with lab.client() as broker:
        kinds = [e["type"] for _, e in entries(broker, name)]
        assert kinds[-2:] == ["gap", "ended"]
        ledger = entries(broker, name)[-1][1]["data"]["ledger"]
        assert ledger["lost"] == ledger["missing"] == chunk - ledger["published"] > 0


async def test_a_call_that_begins_while_the_broker_is_away_is_complete(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab)
    caller, carrier = [await Caller.dial(service.url) for _ in range(2)]
    lab.kill()
    await caller.start(name, wait=False)
    await caller.speak(*range(100))
    await caller.say({"event": "end"})
    await carrier.say(carrier_start(f"{name}-carrier"))
    for chunk in range(1, 101):
        await carrier.say(media(chunk))
    await carrier.say({"event": "stop", "stop": {"reason": "callended"}})
    await until(lambda: service.metric("ingest_buffered_bytes") == 200 * 320)
    lab.start()
    await caller.hear("started")
    ledger = (await caller.hear("ended"))["ledger"]
    assert (ledger["published"], ledger["lost"]) == (100, 0)
    assert await carrier.closed() == 1000
    with lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(100)]
        found = [e["type"] for _, e in entries(broker, f"{name}-carrier")]
        assert found == ["started", *["audio"] * 100, "ended"]
    assert service.metric("ingest_buffered_bytes") == 0


async def test_a_carrier_that_hangs_up_before_its_start_is_published_is_published_all_the_same(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab)
    carrier = await Caller.dial(service.url)
    lab.kill()
    await carrier.say(carrier_start(name))
    for chunk in range(1, 11):
        await carrier.say(media(chunk))
    await until(lambda: service.metric("ingest_buffered_bytes") == 10 * 320)
    assert service.senders == 1
    carrier.reset()
    await until(lambda: service.senders == 0)
    lab.start()
    with lab.client() as broker:
        await until_state(broker, name, "ended")
        assert [seq for seq, _ in audio(broker, name)] == list(range(1, 11))
        assert entries(broker, name)[-1][1]["data"]["reason"] == "disconnected"


async def test_a_sender_whose_start_cannot_be_published_is_closed_1013_and_may_say_it_again(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, BUFFER_SECONDS="1")
    caller = await Caller.dial(service.url)
    lab.kill()
    await caller.start(name, wait=False)
    await caller.speak(*range(10))
    assert await caller.closed() == 1013
    assert service.metric("ingest_buffered_bytes") == 0
    lab.start()
    again = await Caller.dial(service.url)
    await again.start(name)
    await again.speak(*range(10))
    assert (await again.end())["published"] == 10


async def test_an_end_waits_for_the_broker_and_is_answered_once_it_is_there(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab)
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.hear_ack(0)
    lab.kill()
    await caller.speak(1)
    await caller.say({"event": "end"})
    await caller.say({"event": "end"})
    await caller.speak(2)
    assert (await caller.hear("error"))["code"] == "unexpected_event"
    lab.start()
    ledger = (await caller.hear("ended"))["ledger"]
    assert (ledger["received"], ledger["published"]) == (2, 2)
    assert await caller.closed() == 1000
    with lab.client() as broker:
        assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_run_whose_sender_left_without_the_broker_is_ended_once_it_is_there(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service = started_on(start_service, lab, RESUME_SECONDS="0.2")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.hear_ack(0)
    lab.kill()
    await caller.speak(1)
    caller.reset()
    await until(lambda: service.metric("ingest_streams", dialect="exostreamkit") == 0)
    lab.start()
    with lab.client() as broker:
        await until_state(broker, name, "ended")
        kinds = [e["type"] for _, e in entries(broker, name)]
        assert kinds == ["started", "audio", "audio", "ended"]
        assert entries(broker, name)[-1][1]["data"]["reason"] == "disconnected"
