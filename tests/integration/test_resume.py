"""A run over several connections: taken up, taken over, ended on a lost sender's behalf."""

import asyncio
from typing import Any

import pytest
from published import Broker, audio, entries, facts
from running import Caller, Keys, Service, pcm
from waiting import until, until_state


async def test_a_cut_run_continues_at_last_seq_and_nothing_is_stored_twice(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(9)
    caller.reset()
    await until_state(broker, name, "cut")
    last = int(facts(broker, name)["last_seq"])

    again = await Caller.dial(service.url)
    started = await again.start(name, resume=True)
    assert started == {
        "event": "started",
        "interaction_id": name,
        "generation": 2,
        "last_seq": last,
    }
    await again.speak(*range(15, 30))
    ledger = await again.end()
    assert [seq for seq, _ in audio(broker, name)] == list(range(30))
    assert ledger["published"] == 30
    assert ledger["duplicate"] == last - 14
    assert (ledger["missing"], ledger["audio_ms"]) == (0, 600)
    kinds = [e["type"] for _, e in entries(broker, name)]
    assert kinds.count("ended") == 1
    positions = [int(entry_id.split("-")[1]) for entry_id, _ in entries(broker, name)]
    assert positions == list(range(len(kinds)))


async def test_binary_frames_continue_from_last_seq_after_a_resume(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(40, 41)
    caller.reset()
    await until_state(broker, name, "cut")
    again = await Caller.dial(service.url)
    assert (await again.start(name, resume=True))["last_seq"] == 41
    await again.say(pcm(1))
    await again.end()
    assert [seq for seq, _ in audio(broker, name)] == [40, 41, 42]


async def test_a_lost_sender_is_ended_as_disconnected_once(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 1)
    caller.reset()
    await until_state(broker, name, "ended")
    found = entries(broker, name)
    assert [e["type"] for _, e in found] == ["started", "audio", "audio", "ended"]
    assert found[-1][1]["data"]["reason"] == "disconnected"
    assert found[-1][1]["data"]["ledger"]["published"] == 2


async def test_a_close_without_an_end_is_a_lost_sender_too(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.socket.close(1000)
    await until_state(broker, name, "ended")
    assert entries(broker, name)[-1][1]["data"]["reason"] == "disconnected"


async def test_a_start_after_the_end_opens_a_new_run_where_positions_continue(
    service: Service, broker: Broker, name: str
) -> None:
    for resume in (False, True):
        caller = await Caller.dial(service.url)
        assert (await caller.start(name, resume=resume))["last_seq"] is None
        await caller.speak(0)
        assert (await caller.end())["published"] == 1
    assert [entry_id for entry_id, _ in entries(broker, name)] == [
        "1-0", "1-1", "1-2", "2-3", "2-4", "2-5",
    ]  # fmt: skip


async def test_a_reconnect_without_resume_is_a_new_run_and_the_old_one_is_ended(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(7, 8)
    caller.reset()
    await until_state(broker, name, "cut")
    again = await Caller.dial(service.url)
    started = await again.start(name)
    assert (started["generation"], started["last_seq"]) == (2, None)
    await again.speak(0)
    assert (await again.end())["received"] == 1
    assert [e["type"] for _, e in entries(broker, name)] == [
        "started", "audio", "audio", "ended", "started", "audio", "ended",
    ]  # fmt: skip


async def test_a_newer_connection_supersedes_the_older_with_4409(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    older, newer = await Caller.dial(service.url), await Caller.dial(service.url)
    await older.start(name)
    await older.speak(0, 1)
    await until(lambda: len(audio(broker, name)) == 2)
    assert (await newer.start(name, resume=True))["last_seq"] == 1
    assert await older.closed() == 4409
    assert [r["seq"] for r in older.replies if r["event"] == "ack"] == [1]
    await newer.speak(2)
    await newer.end()
    assert [seq for seq, _ in audio(broker, name)] == [0, 1, 2]
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


@pytest.mark.parametrize("resume", [True, False])
async def test_what_was_counted_since_the_last_frame_goes_over_to_the_newer_connection(
    start_service: Any, broker: Broker, name: str, *, resume: bool
) -> None:
    service = start_service()
    older, newer = await Caller.dial(service.url), await Caller.dial(service.url)
    await older.start(name)
    await older.speak(0, 0, 0, 0)
    for _ in range(2):
        await older.say("garbage")
        await older.hear("error")
    await newer.start(name, resume=resume)
    last = await newer.end()
    ended = [e["data"] for _, e in entries(broker, name) if e["type"] == "ended"]
    assert len(ended) == (1 if resume else 2)
    ledger = ended[0]["ledger"]
    assert (ledger["received"], ledger["duplicate"], ledger["rejected"]) == (6, 3, 2)
    assert (last == ledger) is resume


async def test_the_longest_call_is_of_the_run_and_not_of_the_connection(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(MAX_CALL_SECONDS="1")
    caller = await Caller.dial(service.url)
    began = asyncio.get_running_loop().time()
    await caller.start(name)
    code = None
    while code is None:
        assert asyncio.get_running_loop().time() < began + 10
        again = await Caller.dial(service.url)
        await again.start(name, resume=True)
        try:
            async with asyncio.timeout(0.4):
                code = await again.closed()
        except TimeoutError:
            continue
    assert code == 4408
    assert entries(broker, name)[-1][1]["data"]["reason"] == "too_long"


async def test_old_entries_are_trimmed_although_the_sender_resumes_often(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(RETENTION_SECONDS="1")
    seq = 0
    until = asyncio.get_running_loop().time() + 15
    while not (await asyncio.to_thread(facts, broker, name)).get("trimmed", "0") > "0":
        assert asyncio.get_running_loop().time() < until
        caller = await Caller.dial(service.url)
        await caller.start(name, resume=True)
        for _ in range(20):
            await caller.speak(seq)
            seq += 1
            await asyncio.sleep(0.02)
        await caller.hear_ack(seq - 11)
    held = await asyncio.to_thread(entries, broker, name)
    positions = [int(entry_id.split("-")[1]) for entry_id, _ in held]
    assert positions[0] == int((await asyncio.to_thread(facts, broker, name))["trimmed"])
    assert positions == list(range(positions[0], positions[-1] + 1))


async def test_frames_that_a_newer_generation_fenced_are_counted_as_lost(
    start_service: Any, broker: Broker, name: str
) -> None:
    one, two = start_service(RESUME_SECONDS="0"), start_service()
    older, newer = await Caller.dial(one.url), await Caller.dial(two.url)
    await older.start(name)
    await older.speak(0)
    await until(lambda: facts(broker, name).get("last_seq") == "0")
    await newer.start(name, resume=True)
    await older.speak(1, 2)  # it does not know yet
    assert await older.closed() == 4409
    await until(lambda: one.metric("ingest_frames_total", outcome="lost") > 0)
    received = one.metric("ingest_frames_total", outcome="received")
    assert received == 1 + one.metric("ingest_frames_total", outcome="lost")


async def test_another_process_takes_over_and_the_older_can_write_nothing_more(
    start_service: Any, broker: Broker, name: str
) -> None:
    one, two = start_service(), start_service()
    older, newer = await Caller.dial(one.url), await Caller.dial(two.url)
    await older.start(name)
    await older.speak(0, 1)
    await until(lambda: facts(broker, name).get("last_seq") == "1")
    assert (await newer.start(name, resume=True))["last_seq"] == 1
    await older.say(pcm(99))  # it does not know yet
    assert await older.closed() == 4409
    await newer.speak(2)
    await newer.end()
    assert [seq for seq, _ in audio(broker, name)] == [0, 1, 2]
    assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_run_begun_with_a_token_is_taken_up_only_with_a_token_of_its_tenant(
    start_service: Any, broker: Broker, keys: Keys, name: str
) -> None:
    service = start_service(JWT_PUBLIC_KEY=keys.public_pem)
    rightful = keys.bearer(tenant_id="tenant-abc")
    caller = await Caller.dial(service.url, rightful)
    await caller.start(name)
    await caller.speak(0)
    for headers in (None, keys.bearer(tenant_id="other")):
        for resume in (True, False):
            thief = await Caller.dial(service.url, headers)
            await thief.start(name, wait=False, resume=resume)
            assert await thief.closed() == 4403
            assert thief.replies == []
    await caller.speak(1)
    caller.reset()
    again = await Caller.dial(service.url, rightful)
    assert (await again.start(name, resume=True))["generation"] == 2
    assert (await again.end())["published"] == 2


async def test_many_calls_leave_no_task_and_no_place_behind(start_service: Any, name: str) -> None:
    service = start_service(RESUME_SECONDS="0", MAX_STREAMS="30")
    for round_ in range(4):
        callers = [await Caller.dial(service.url) for _ in range(30)]
        for n, caller in enumerate(callers):
            await caller.start(f"{name}-{round_}-{n}")
        for n, caller in enumerate(callers):
            if n % 2:
                caller.reset()
            else:
                await caller.end()
        await until(lambda: service.metric("ingest_streams", dialect="exostreamkit") == 0)
        await until(lambda: service.get("/health/ready")[0] == 200)
