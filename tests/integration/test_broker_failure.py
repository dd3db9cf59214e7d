"""A broker that dies under live calls: the call ends, nothing acked is lost, the loss is told."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from published import entries, facts
from running import Caller, Service, pcm, wait_until

from adapters.outbound.redis_streams.embedded import EmbeddedValkey


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(appendfsync="always") as valkey:
        yield valkey


@pytest.fixture
def on_own_valkey(own_valkey: EmbeddedValkey, start_service: Any) -> Service:
    return start_service(REDIS_URL=own_valkey.url, RESUME_SECONDS="1")  # type: ignore[no-any-return]


async def test_a_broker_that_dies_closes_1013_and_what_was_acked_is_there(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(9)
    own_valkey.stop()
    for seq in range(20, 30):
        await caller.speak(seq)
    assert await caller.closed() == 1013
    acked = max(r["seq"] for r in caller.replies if r["event"] == "ack")
    assert [r for r in caller.replies if r["event"] == "ended"] == []
    status = on_own_valkey.get_json("/health")
    assert (status["status"], status["pubsub"]) in (("degraded", False), ("healthy", True))
    await asyncio.to_thread(wait_until, lambda: on_own_valkey.get("/health/ready")[0] == 503)
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as broker:
        await asyncio.to_thread(wait_until, lambda: facts(broker, name).get("state") == "ended")
        found = entries(broker, name)
        seqs = [int(e["seq"]) for _, e in found if e["type"] == "audio"]
        assert seqs == list(range(len(seqs)))
        assert acked < len(seqs)
        ended = found[-1][1]["data"]
        assert ended["reason"] == "broker_lost"
        ledger = ended["ledger"]
        assert ledger["published"] == len(seqs)
        assert ledger["lost"] == ledger["missing"] == ledger["received"] - len(seqs) > 0
        assert json.loads(facts(broker, name)["ledger"]) == ledger
    assert on_own_valkey.metric("ingest_frames_total", outcome="lost") == ledger["lost"]
    assert on_own_valkey.metric("ingest_frames_total", outcome="published") == len(seqs)


async def test_a_resume_after_1013_loses_nothing(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(9)
    own_valkey.stop()
    await caller.speak(*range(20, 25))
    assert await caller.closed() == 1013
    own_valkey.start()
    again = await Caller.dial(on_own_valkey.url)  # the handshake waits for the broker
    last = (await again.start(name, resume=True))["last_seq"]
    await again.speak(*range(last + 1, 25))
    ledger = await again.end()
    assert (ledger["published"], ledger["missing"], ledger["lost"]) == (25, 0, 0)
    with redis.Redis.from_url(own_valkey.url) as broker:
        found = entries(broker, name)
        assert [int(e["seq"]) for _, e in found if e["type"] == "audio"] == list(range(25))
        assert [e["type"] for _, e in found].count("ended") == 1


async def test_a_broker_that_forgot_the_stream_closes_1013(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    with redis.Redis.from_url(own_valkey.url) as broker:
        broker.flushall()
        await caller.speak(0)
        assert await caller.closed() == 1013
        assert entries(broker, name) == []


async def test_scripts_that_were_flushed_are_loaded_again(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    with redis.Redis.from_url(own_valkey.url) as broker:
        for seq in range(3):
            broker.script_flush()
            await caller.speak(seq)
        assert (await caller.end())["published"] == 3
        assert [e["type"] for _, e in entries(broker, name)].count("audio") == 3


async def test_a_broker_that_refuses_in_the_middle_leaves_no_hole(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    with redis.Redis.from_url(own_valkey.url) as broker:
        broker.config_set("maxmemory", 1)
        await caller.say(pcm(10))
        assert await caller.closed() == 1013
        await asyncio.to_thread(wait_until, lambda: on_own_valkey.get("/health/ready")[0] == 503)
        broker.config_set("maxmemory", 0)
        await asyncio.to_thread(wait_until, lambda: facts(broker, name)["state"] == "ended")
        found = entries(broker, name)
        positions = [int(entry_id.split("-")[1]) for entry_id, _ in found]
        assert positions == list(range(12))
        assert found[-1][1]["data"]["ledger"]["lost"] == 1


async def test_other_calls_live_on_when_one_stream_is_broken(
    on_own_valkey: Service, own_valkey: EmbeddedValkey, name: str
) -> None:
    broken, whole = await Caller.dial(on_own_valkey.url), await Caller.dial(on_own_valkey.url)
    await broken.start(f"{name}-broken")
    await whole.start(f"{name}-whole")
    with redis.Redis.from_url(own_valkey.url) as broker:
        key = f"rtaa:audio:{{tenant-abc/{name}-broken}}"
        broker.delete(key)
        broker.set(key, "not a stream")
        await broken.speak(0)
        await whole.speak(0)
        assert await broken.closed() == 1013
        assert (await whole.end())["published"] == 1


async def test_a_broker_away_for_longer_than_a_run_waits_gets_the_end_all_the_same(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(9)
    own_valkey.stop()
    await caller.speak(20)
    assert await caller.closed() == 1013
    await asyncio.sleep(1.5)  # longer than RESUME_SECONDS: the first try to end it has failed
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as broker:
        await asyncio.to_thread(wait_until, lambda: facts(broker, name).get("state") == "ended")
        found = entries(broker, name)
        ended = found[-1][1]["data"]
        assert ended["reason"] == "broker_lost"
        assert ended["ledger"]["received"] == 21
        assert ended["ledger"]["published"] == len(found) - 2
        assert [e["type"] for _, e in found].count("ended") == 1


async def test_starts_and_ends_that_could_not_be_announced_are_announced_later(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    ending, starting = await Caller.dial(on_own_valkey.url), await Caller.dial(on_own_valkey.url)
    await ending.start(f"{name}-ending")
    with redis.Redis.from_url(own_valkey.url) as broker:
        broker.delete("rtaa:interactions")
        broker.set("rtaa:interactions", "no stream")
        await ending.say({"event": "end"})
        assert await ending.closed() == 1013
        await starting.start(f"{name}-starting", wait=False)
        assert await starting.closed() == 1013
        broker.delete("rtaa:interactions")
        await asyncio.to_thread(
            wait_until, lambda: index_of(broker, f"{name}-starting") == {"started", "ended"}
        )
        await asyncio.to_thread(wait_until, lambda: index_of(broker, f"{name}-ending") == {"ended"})
        for which in ("ending", "starting"):
            kinds = [e["type"] for _, e in entries(broker, f"{name}-{which}")]
            assert kinds == ["started", "ended"]


async def test_a_resume_after_1013_leaves_no_false_alarm_behind(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await Caller.dial(on_own_valkey.url)
    await caller.start(name)
    await caller.speak(0)
    os.kill(own_valkey.pid, signal.SIGSTOP)
    await caller.speak(1, 2, 3)
    try:
        assert await caller.closed() == 1013
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    again = await Caller.dial(on_own_valkey.url)
    last = (await again.start(name, resume=True))["last_seq"]
    await again.speak(*range(last + 1, 4))
    ledger = await again.end()
    assert (ledger["published"], ledger["lost"]) == (4, 0)
    await asyncio.sleep(1.5)  # longer than RESUME_SECONDS: nothing is left to be ended
    assert "stream could not be ended" not in caplog.text


async def test_the_rightful_sender_is_not_superseded_by_a_generation_that_was_forgotten(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    for _ in range(3):
        caller = await Caller.dial(on_own_valkey.url)
        await caller.start(name, resume=True)
    with redis.Redis.from_url(own_valkey.url) as broker:
        broker.flushall()
        await caller.speak(0)
        assert await caller.closed() == 1013
        again = await Caller.dial(on_own_valkey.url)
        assert (await again.start(name, resume=True))["generation"] == 1
        await again.speak(0)
        assert (await again.end())["published"] == 1


def media(chunk: int) -> dict[str, Any]:
    payload = base64.b64encode(pcm(chunk)).decode()
    return {"event": "media", "media": {"chunk": str(chunk), "payload": payload}}


def carrier_start(name: str, sid: str) -> dict[str, Any]:
    start = {"call_sid": name, "account_sid": "tenant-abc", "stream_sid": sid}
    return {"event": "start", "stream_sid": sid, "start": start}


async def test_a_carrier_is_not_hung_up_on_and_its_stop_ends_the_run_when_the_broker_is_back(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    sid = f"sid-{name}"
    carrier = await Caller.dial(on_own_valkey.url)
    await carrier.say(carrier_start(name, sid))
    for chunk in range(1, 11):
        await carrier.say(media(chunk))
    with redis.Redis.from_url(own_valkey.url) as broker:
        await asyncio.to_thread(wait_until, lambda: facts(broker, sid).get("last_seq") == "10")
    own_valkey.stop()
    await carrier.say(media(11))
    await asyncio.to_thread(wait_until, lambda: on_own_valkey.get("/health/ready")[0] == 503)
    await carrier.say(media(12))
    own_valkey.start()
    await carrier.say({"event": "stop", "stop": {"reason": "callended"}})
    assert await carrier.closed() == 1000
    assert carrier.replies == []
    with redis.Redis.from_url(own_valkey.url) as broker:
        found = entries(broker, sid)
    assert [e["type"] for _, e in found] == ["started", *["audio"] * 10, "ended"]
    ended = found[-1][1]["data"]
    assert ended["reason"] == "callended"
    assert ended["ledger"] | {"bytes": 0, "audio_ms": 0} == {
        "received": 12,
        "published": 10,
        "duplicate": 0,
        "rejected": 0,
        "lost": 2,
        "missing": 2,
        "bytes": 0,
        "audio_ms": 0,
    }


async def test_a_start_that_had_to_be_tried_again_is_one_start(
    own_valkey: EmbeddedValkey, on_own_valkey: Service, name: str
) -> None:
    sid = f"sid-{name}"
    before = await Caller.dial(on_own_valkey.url)
    await before.start(f"{name}-before")  # from now on the broker knows the script
    carrier = await Caller.dial(on_own_valkey.url)
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        await carrier.say(carrier_start(name, sid))
        for chunk in range(1, 11):
            await carrier.say(media(chunk))
        await asyncio.sleep(6.5)  # longer than one attempt may take
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    await carrier.say({"event": "stop"})
    assert await carrier.closed() == 1000
    with redis.Redis.from_url(own_valkey.url) as broker:
        found = entries(broker, sid)
    assert [e["type"] for _, e in found] == ["started", *["audio"] * 10, "ended"]
    assert found[0][0] == "1-0"


def index_of(broker: redis.Redis, name: str) -> set[str]:
    """What the index has announced of a stream."""
    if broker.type("rtaa:interactions") != b"stream":
        return set()
    index: Any = broker.xrange("rtaa:interactions")
    return {
        fields[b"type"].decode() for _, fields in index if fields[b"stream_id"] == name.encode()
    }
