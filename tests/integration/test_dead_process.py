"""A process that dies or freezes under its calls, and what other processes do about it."""

import asyncio
import os
import signal
from typing import Any

import pytest
from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from published import Broker, audio, entries, facts
from running import Caller, pcm
from waiting import until, until_state

pytestmark = pytest.mark.long(30)

RECOVERY_SECONDS = 40.0


async def until_published(broker: Broker, name: str, seq: int) -> None:
    await until(lambda: facts(broker, name).get("last_seq") == str(seq))


async def until_ended(broker: Broker, name: str) -> None:
    await until_state(broker, name, "ended", RECOVERY_SECONDS)


async def test_the_run_of_a_killed_process_is_ended_once_by_one_that_lives(
    process: Any, broker: Broker, name: str
) -> None:
    dying, _, _ = (
        process(RESUME_SECONDS="1"),
        process(RESUME_SECONDS="1"),
        process(RESUME_SECONDS="1"),
    )
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await until_published(broker, name, 19)
    dying.kill()
    await until_ended(broker, name)
    found = entries(broker, name)
    assert [e["type"] for _, e in found] == ["started", *["audio"] * 20, "ended"]
    assert found[-1][1]["data"]["recovered"] is True
    assert found[-1][1]["data"]["reason"] == "disconnected"
    assert found[-1][1]["data"]["ledger"]["published"] == 20


async def test_the_next_process_to_start_ends_the_run_of_the_only_one(
    process: Any, broker: Broker, name: str
) -> None:
    dying = process(RESUME_SECONDS="1")
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await until_published(broker, name, 9)
    dying.kill()
    process(RESUME_SECONDS="1")
    await until_ended(broker, name)
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_sender_whose_process_was_killed_resumes_on_another(
    process: Any, broker: Broker, name: str
) -> None:
    dying, living = process(RESUME_SECONDS="1"), process(RESUME_SECONDS="1")
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(100))
    await caller.hear_ack(49)
    dying.kill()
    acked = max(r["seq"] for r in caller.replies if r["event"] == "ack")
    again = await Caller.dial(living.url)
    last = (await again.start(name, resume=True))["last_seq"]
    assert last >= acked
    await again.speak(*range(acked + 1, 110))
    ledger = await again.end()
    assert audio(broker, name) == [(n, pcm(n)) for n in range(110)]
    assert (ledger["published"], ledger["missing"], ledger["lost"]) == (110, 0, 0)
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_frozen_process_is_fenced_and_writes_nothing_when_it_thaws(
    process: Any, broker: Broker, name: str
) -> None:
    freezing, living = process(RESUME_SECONDS="1"), process(RESUME_SECONDS="1")
    caller = await Caller.dial(freezing.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await until_published(broker, name, 19)
    os.kill(freezing.process.pid, signal.SIGSTOP)
    try:
        await caller.speak(20, 21)  # in the socket of the frozen process
        again = await Caller.dial(living.url)
        assert (await again.start(name, resume=True))["last_seq"] == 19
        await again.speak(20, 21, 22)
    finally:
        os.kill(freezing.process.pid, signal.SIGCONT)
    assert await caller.closed() == 4409
    await again.end()
    assert audio(broker, name) == [(n, pcm(n)) for n in range(23)]
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_what_a_frozen_process_had_confirmed_and_a_broker_lost_is_counted_as_lost(
    process: Any, broker: Broker, name: str
) -> None:
    freezing, living = process(), process()
    caller = await Caller.dial(freezing.url)
    await caller.start(name)
    await caller.speak(*range(100))
    await caller.hear_ack(99)
    os.kill(freezing.process.pid, signal.SIGSTOP)
    try:
        broker.flushall()
        again = await Caller.dial(living.url)
        assert (await again.start(name, resume=True))["last_seq"] is None
        await again.speak(*range(100, 110))
        await again.hear_ack(109)
    finally:
        os.kill(freezing.process.pid, signal.SIGCONT)
    assert await caller.closed() == 4409
    lost = {"outcome": "lost", "reason": "rolled_back"}
    await until(lambda: freezing.metric("ingest_frames_total", **lost) == 100)
    assert "the broker came back without it" in freezing.log.read_text()
    assert living.metric("ingest_frames_total", **lost) == 0
    await again.end()
    assert [seq for seq, _ in audio(broker, name)] == list(range(100, 110))


async def test_a_duplicate_sent_while_another_process_takes_over_is_no_reason_for_an_ack(
    process: Any, name: str
) -> None:
    with BrokerLab() as lab, ChaosProxy(lab.port) as proxy:
        host, port = proxy.address
        cut_off = process(REDIS_URL=f"redis://{host}:{port}/0", BUFFER_SECONDS="2")
        other = process(REDIS_URL=lab.url)
        caller = await Caller.dial(cut_off.url)
        await caller.start(name)
        await caller.speak(*range(10))
        await caller.hear_ack(9)
        proxy.black_hole()
        await caller.speak(*range(10, 110))  # 2 s: there is no more room
        await until(lambda: cut_off.metric("ingest_buffered_bytes") >= 100 * 320)
        await caller.speak(10)
        again = await Caller.dial(other.url)
        assert (await again.start(name, resume=True))["last_seq"] == 9
        proxy.heal()
        assert await caller.closed() == 4409
        assert max(r["seq"] for r in caller.replies if r["event"] == "ack") == 9
        await again.end()


async def test_a_process_that_had_the_call_before_does_not_take_it_back(
    process: Any, name: str
) -> None:
    """It is the first to find that the broker was wiped, and rebases what it holds."""
    with BrokerLab() as lab, ChaosProxy(lab.port) as proxy:
        host, port = proxy.address
        before = process(REDIS_URL=lab.url)
        now = process(REDIS_URL=f"redis://{host}:{port}/0")
        caller = await Caller.dial(before.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.hear_ack(19)
        caller.reset()
        again = await Caller.dial(now.url)
        assert (await again.start(name, resume=True))["last_seq"] == 19
        await again.speak(*range(20, 30))
        await again.hear_ack(29)
        proxy.refuse()
        proxy.reset()
        await asyncio.to_thread(lab.come_back_empty)
        await until(lambda: "stream rebased" in before.log.read_text())
        proxy.heal()
        await again.speak(*range(30, 35))
        ledger = await again.end()
        with lab.client() as broker:
            assert [seq for seq, _ in audio(broker, name)] == list(range(35))
    assert (ledger["published"], ledger["lost"]) == (35, 0)
    assert await again.closed() == 1000


async def test_a_sender_that_says_nothing_is_told_that_another_process_has_its_stream(
    process: Any, broker: Broker, name: str
) -> None:
    older, newer = process(), process()
    caller = await Caller.dial(older.url)
    await caller.start(name)
    again = await Caller.dial(newer.url)
    await again.start(name, resume=True)
    assert await caller.closed() == 4409
    assert (await again.end())["published"] == 0
