"""Calls through the service over NATS JetStream, whose server dies, comes back younger or empty."""

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from nats_client import needs_nats_server
from nats_cluster import NatsCluster
from ports import quiet_port
from published_nats import audio, entries, head, index, messages
from running import Caller, Service, ServiceProcess, pcm
from steady_calls import ExostreamkitCall, SteadyCall, steady_calls
from waiting import until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats

pytestmark = [pytest.mark.long(20), needs_nats_server]

StartService = Callable[..., Service]


@pytest.fixture
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats(port=quiet_port()) as server:
        yield server


@pytest.fixture
def start_on() -> Iterator[StartService]:
    """Start services over NATS, open to all."""
    with ExitStack() as services:

        def start(url: str, **variables: str) -> Service:
            environment = {
                "PUBSUB_ADAPTER": "nats_jetstream",
                "NATS_URL": url,
                "SUPPORT_EXOTEL": "true",
                "LOG_LEVEL": "error",
                "ACK_INTERVAL": "1",
                **variables,
            }
            service = Service(environment).start()
            services.callback(service.stop)
            return service

        yield start


def assert_whole(port: int, call: SteadyCall, *, generations: int = 1) -> None:
    """Every frame once and in order, positions dense, one start and one end, a ledger that fits."""
    found = entries(port, call.name)
    kinds = [entry["type"] for _, entry in found]
    assert [int(entry_id.split("-")[1]) for entry_id, _ in found] == list(range(len(found)))
    assert (kinds[0], kinds[-1], kinds.count("ended")) == ("started", "ended", 1)
    assert kinds.count("started") <= generations
    assert "gap" not in kinds
    seqs = range(call.first_seq, call.first_seq + call.frames)
    assert audio(port, call.name) == [(seq, pcm(seq)) for seq in seqs]
    ledger = found[-1][1]["data"]["ledger"]
    assert (ledger["published"], ledger["lost"], ledger["missing"]) == (call.frames, 0, 0)
    assert head(port, call.name)["account"]["state"] == "ended"


async def test_calls_are_whole_when_the_server_is_killed_and_restarted_under_them(
    server: EmbeddedNats, start_on: StartService, name: str
) -> None:
    service = start_on(server.url)
    async with steady_calls(service.url, name) as calls:
        for _ in range(2):
            await calls[0].hear_ack(calls[0].frames + 5)
            server.stop(signal.SIGKILL)
            acked = calls[0].acked
            await until(lambda: not service.get_json("/health")["pubsub"])
            server.start()
            await calls[0].hear_ack(acked + 10)
    for call in calls:
        assert_whole(server.port, call)
        assert index(server.port, call.name) == ["started", "ended"]
    assert service.metric("ingest_frames_total", outcome="lost") == 0


async def test_what_was_acked_lately_is_replayed_to_a_server_that_comes_back_younger(
    server: EmbeddedNats, start_on: StartService, name: str, tmp_path: Path
) -> None:
    service = start_on(server.url, REWIND_SECONDS="20")
    call = await ExostreamkitCall.dial(service.url, name)
    speaking = asyncio.create_task(call.speak())
    await call.hear_ack(10)
    await asyncio.to_thread(shutil.copytree, server.directory, tmp_path / "kept")
    await call.hear_ack(call.acked + 10)
    server.stop(signal.SIGKILL)
    shutil.rmtree(server.directory)
    shutil.copytree(tmp_path / "kept", server.directory)
    acked = call.acked
    server.start()
    await call.hear_ack(acked + 10)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await call.finish()
    assert_whole(server.port, call)
    assert service.metric("ingest_replayed_frames_total") > 0


async def test_a_stream_is_rebased_to_a_server_that_comes_back_empty(
    server: EmbeddedNats, start_on: StartService, name: str
) -> None:
    service = start_on(server.url, REWIND_SECONDS="20")
    call = await ExostreamkitCall.dial(service.url, name)
    speaking = asyncio.create_task(call.speak())
    await call.hear_ack(10)
    server.stop(signal.SIGKILL)
    shutil.rmtree(server.directory)
    acked = call.acked
    server.start()
    await call.hear_ack(acked + 10)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    await call.finish()
    assert_whole(server.port, call)
    found = entries(server.port, name)
    assert found[0][1]["data"]["generation"] == 2
    assert index(server.port, name) == ["started", "ended"]


async def test_a_resumed_call_and_a_new_run_are_told_apart(
    server: EmbeddedNats, start_on: StartService, name: str
) -> None:
    service = start_on(server.url)
    first, resumed, second = [await Caller.dial(service.url) for _ in range(3)]
    await first.start(name)
    await first.speak(*range(5))
    await first.hear_ack(4)
    first.reset()
    assert (await resumed.start(name, resume=True))["last_seq"] == 4
    await resumed.speak(5, 8)
    await resumed.end()
    await second.start(name)
    await second.speak(0)
    await second.end()
    found = entries(server.port, name)
    assert [it["type"] for _, it in found] == [
        "started", *["audio"] * 5, "started", "audio", "gap", "audio", "ended",
        "started", "audio", "ended",
    ]  # fmt: skip
    assert [entry_id for entry_id, _ in found] == [
        *(f"1-{n}" for n in range(6)), *(f"2-{n}" for n in range(6, 11)),
        *(f"3-{n}" for n in range(11, 14)),
    ]  # fmt: skip
    assert index(server.port, name) == ["started", "started", "ended", "started", "ended"]
    runs = [it["data"]["run"] for _, it in found if it["type"] == "started"]
    assert runs[0] == runs[1] != runs[2]


async def test_a_run_of_a_dead_process_is_ended_by_another(
    server: EmbeddedNats, name: str, tmp_path: Path
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "nats_jetstream",
        "NATS_URL": server.url,
        "SUPPORT_EXOTEL": "true",
        "RESUME_SECONDS": "1",
        "ACK_INTERVAL": "1",
    }
    processes = [ServiceProcess(environment, tmp_path / f"log-{n}") for n in range(2)]
    try:
        for process in processes:
            process.wait_until_ready()
        caller = await Caller.dial(processes[0].url)
        await caller.start(name)
        await caller.speak(*range(5))
        await caller.hear_ack(4)
        processes[0].kill()
        await until(lambda: head(server.port, name)["account"]["state"] == "ended", 45)
    finally:
        for process in processes:
            if process.process.poll() is None:
                process.kill()
    ended = entries(server.port, name)[-1][1]["data"]
    assert (ended["reason"], ended["recovered"]) == ("disconnected", True)


async def test_calls_are_whole_when_the_leader_of_three_is_killed_under_them(
    start_on: StartService, name: str
) -> None:
    with NatsCluster() as cluster:
        service = start_on(cluster.url)
        async with steady_calls(service.url, name) as calls:
            await calls[0].hear_ack(calls[0].frames + 5)
            leader = await asyncio.to_thread(cluster.leader_of, "rtaa-audio")
            leader.stop(signal.SIGKILL)
            await calls[0].hear_ack(calls[0].frames + 5)
        await asyncio.to_thread(cluster.wait_for_leader, "rtaa-audio")
        await asyncio.to_thread(cluster.start)
        for call in calls:
            assert_whole(cluster.leader_of("rtaa-audio").port, call)
        assert service.metric("ingest_frames_total", outcome="lost") == 0


async def test_the_asyncapi_document_tells_subjects_and_messages(
    server: EmbeddedNats, start_on: StartService, name: str
) -> None:
    service = start_on(server.url)
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 1, 4)
    await caller.end()
    document = service.get_json("/asyncapi.json")
    found: dict[str, Any] = {}
    for channel in ("stream", "index"):
        described = document["channels"][channel]
        (message,) = described["messages"]
        schema = document["components"]["messages"][message]["payload"]
        address = described["address"].replace("{tenant_id}", "tenant-abc")
        for line, _ in messages(server.port, address.replace("{stream_id}", name)):
            Draft7Validator(schema).validate(line)
            found |= {row["id"]: row for row in line["entries"]}
    rows = {
        it["properties"]["type"].get("const", "audio"): it
        for it in schema["properties"]["entries"]["items"]["anyOf"]
    }
    told = dict(entries(server.port, name))
    assert sorted(found) == sorted(told)
    assert {it["type"] for it in told.values()} == {"started", "audio", "gap", "ended"}
    for entry in told.values():
        assert set(rows[entry["type"]]["required"]) == set(entry) - {"data", "audio"}
        if entry["type"] != "audio":
            data = rows[entry["type"]]["properties"]["bytes"]["x-data"]
            Draft7Validator(data).validate(entry["data"])
