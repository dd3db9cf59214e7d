"""A broker that dies under live calls: the call ends, nothing acked is lost, the loss is told."""

import asyncio
import json
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
