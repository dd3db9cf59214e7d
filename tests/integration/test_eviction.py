"""A broker that has lost one of a stream's two keys while no process held the stream."""

import asyncio
from typing import Any

import pytest
from broker_lab import BrokerLab
from published import Broker, audio, entries, facts
from running import Caller
from waiting import until

from application.delivery import log_registry


async def leave_behind(process: Any, name: str, *, frames: int) -> None:
    """Have a process die with a run that is open and confirmed."""
    dying = process()
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(*range(frames))
    if frames:
        await caller.hear_ack(frames - 1)
    dying.kill()


def delete(broker: Broker, kind: str, name: str) -> None:
    assert broker.delete(f"rtaa:{kind}:{{tenant-abc/{name}}}") == 1


@pytest.mark.parametrize("resume", [True, False])
async def test_audio_that_was_evicted_is_declared_lost_by_the_next_start(
    process: Any, broker: Broker, name: str, *, resume: bool
) -> None:
    await leave_behind(process, name, frames=30)
    delete(broker, "audio", name)
    caller = await Caller.dial(process().url)
    assert (await caller.start(name, resume=resume))["last_seq"] == (29 if resume else None)
    await caller.speak(*range(30, 40))
    ledger = await caller.end()
    found = entries(broker, name)
    gap = {"first_missing": 0, "missing": 30}
    kinds = ["gap", "started", *["audio"] * 10, "ended"]
    ended = ledger
    if not resume:
        kinds.insert(1, "ended")
        ended = found[1][1]["data"]["ledger"]
    assert [entry["type"] for _, entry in found] == kinds
    assert found[0][1]["data"] == gap
    assert (ended["lost"], ended["missing"]) == (30, 30)
    assert (ledger["published"], ledger["bytes"]) == (10, 3200)
    positions = [int(entry_id.split("-")[1]) for entry_id, _ in found]
    assert positions == list(range(31, 31 + len(found)))
    assert facts(broker, name)["trimmed"] == "31"


async def test_a_stream_that_was_evicted_before_it_had_audio_lost_none(
    process: Any, broker: Broker, name: str
) -> None:
    await leave_behind(process, name, frames=0)
    delete(broker, "audio", name)
    caller = await Caller.dial(process().url)
    await caller.start(name, resume=True)
    await caller.speak(0)
    ledger = await caller.end()
    assert (ledger["published"], ledger["lost"], ledger["missing"]) == (1, 0, 0)
    assert [entry["type"] for _, entry in entries(broker, name)] == ["started", "audio", "ended"]


async def test_a_stream_whose_facts_were_evicted_is_begun_after_what_is_left(
    process: Any, broker: Broker, name: str
) -> None:
    await leave_behind(process, name, frames=30)
    before = entries(broker, name)
    delete(broker, "interaction", name)
    caller = await Caller.dial(process().url)
    started = await caller.start(name, resume=True)
    assert (started["generation"], started["last_seq"]) == (2, None)
    await caller.speak(0, 1)
    assert (await caller.end())["published"] == 2
    found = await asyncio.to_thread(entries, broker, name)
    assert found[: len(before)] == before
    assert [entry_id for entry_id, _ in found[len(before) :]] == ["2-31", "2-32", "2-33", "2-34"]
    assert [seq for seq, _ in audio(broker, name)] == [*range(30), 0, 1]


@pytest.mark.parametrize("resume", [True, False], ids=["one run", "two runs"])
async def test_all_that_a_process_holds_of_an_evicted_stream_is_rebased(
    process: Any, broker: Broker, name: str, *, resume: bool
) -> None:
    """Of both generations: the facts that are left name the newer one, which is not alone."""
    url = process().url
    first = await Caller.dial(url)
    await first.start(name)
    await first.speak(*range(50))
    await first.hear_ack(49)
    if resume:
        first.reset()
    else:
        await first.end()
    second = await Caller.dial(url)
    await second.start(name, resume=resume)
    await second.speak(*range(50, 60))
    await second.hear_ack(59)
    delete(broker, "audio", name)
    await second.speak(*range(60, 65))
    ledger = await second.end()
    assert (ledger["published"], ledger["lost"]) == (65 if resume else 15, 0)
    assert [seq for seq, _ in audio(broker, name)] == list(range(65))
    kinds = [entry["type"] for _, entry in entries(broker, name)]
    assert kinds.count("ended") == (1 if resume else 2)
    assert kinds.count("gap") == 0


async def test_where_one_stream_was_lost_the_quiet_ones_are_looked_after_at_once(
    start_service: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_registry, "QUIET_SECONDS", 3_600.0)
    with BrokerLab() as lab, lab.client() as broker:
        service = start_service(REDIS_URL=lab.url, ACK_INTERVAL="1")
        speaking, quiet = [await Caller.dial(service.url) for _ in range(2)]
        for caller, stream in ((speaking, name), (quiet, f"{name}-quiet")):
            await caller.start(stream)
            await caller.speak(*range(10))
            await caller.hear_ack(9)
        lab.forget_all_keys()
        await speaking.speak(10)
        await speaking.hear_ack(10)
        await until(lambda: [s for s, _ in audio(broker, f"{name}-quiet")] == list(range(10)))
        assert [seq for seq, _ in audio(broker, name)] == list(range(11))
        for caller in (speaking, quiet):
            await caller.end()
