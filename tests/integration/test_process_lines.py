"""A process logs what it does: that it listens, drains, cuts calls, and has its broker back."""

import asyncio
import json
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from ports import quiet_port
from running import Caller, ServiceProcess
from waiting import until, wait_until

from adapters.outbound.redis_streams.embedded import EmbeddedValkey


def lines(service: ServiceProcess, event: str) -> list[dict[str, Any]]:
    """The log lines that begin so."""
    whole = service.log.read_text().rpartition("\n")[0].splitlines()
    return [line for line in map(json.loads, whole) if line["event"].startswith(event)]


async def exit_status(service: ServiceProcess) -> int:
    return await asyncio.to_thread(service.process.wait, 20)


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_it_says_what_it_is_where_it_listens_and_whom_it_lets_in(
    valkey: EmbeddedValkey, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    operations = quiet_port()
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url.replace("//", "//default:hidden@"),
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "hidden-user",
        "EXOTEL_PASSWORD": "hidden-password",
        "EXOTEL_TENANTS": "tenant-abc",
        "OPERATIONS_PORT": str(operations),
    }
    service = ServiceProcess(environment, tmp_path / "log", arguments)
    try:
        wait_until(lambda: lines(service, "listening"))
        (line,) = lines(service, "listening")
    finally:
        service.stop()
    assert line["version"] == version("rtaa-ingest")
    assert line["at"] == [f"127.0.0.1:{service.port}"]
    assert line["operations_at"] == [f"127.0.0.1:{operations}"]
    assert line["workers"] == (2 if arguments else 1)
    assert line["adapter"] == "redis_streams"
    assert line["destination"]["REDIS_URL"] == valkey.url.replace("//", "//***@")
    assert line["bearer"].startswith("refused")
    assert "1 password" in line["basic"]
    assert "tenant-abc" in line["basic"]
    assert line["no_authorization"].startswith("refused")
    assert "hidden" not in service.log.read_text()


def test_a_port_that_the_system_chooses_is_told(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url, "PORT": "0"}
    service = ServiceProcess({**environment, "SUPPORT_EXOTEL": "true"}, tmp_path / "log")
    try:
        wait_until(lambda: lines(service, "listening"))
        service.port = int(lines(service, "listening")[0]["at"][0].rpartition(":")[2])
        service.wait_until_ready()
    finally:
        service.stop()


async def test_a_drain_says_how_many_calls_it_waits_for_and_which_it_cuts(
    process: Any, name: str
) -> None:
    service = process(DRAIN_SECONDS="2")
    staying = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    for number, carrier in enumerate(staying):
        await carrier.begin(f"{name}-{number}")
        await carrier.send_chunks(f"{name}-{number}", 1)
    resuming = await Caller.dial(service.url)
    await resuming.start(name)
    service.process.send_signal(signal.SIGTERM)
    await until(service.is_draining)
    assert await staying[0].stop(f"{name}-0") == 1000
    assert await staying[1].closed() == 1012
    assert await exit_status(service) == 0
    (draining,) = lines(service, "draining")
    assert draining["event"] == "draining, 3 call(s)"
    assert draining["dialects"] == {"agentstream": 2, "exostreamkit": 1}
    (cut,) = lines(service, "call cut")
    assert cut["level"] == "warning"
    named = {key: cut[key] for key in ("tenant_id", "interaction_id", "stream_id", "dialect")}
    assert named == {
        "tenant_id": "tenant-abc",
        "interaction_id": f"call-{name}-1",
        "stream_id": f"{name}-1",
        "dialect": "agentstream",
    }
    (drained,) = lines(service, "drained")
    assert drained["calls_cut"] == 1
    assert 2 <= drained["seconds"] < 10


async def test_a_drain_that_cuts_very_many_calls_logs_a_bounded_number(
    process: Any, name: str
) -> None:
    service = process(DRAIN_SECONDS="0.5")
    for number in range(103):
        await (await AgentstreamSender.dial(service.url)).begin(f"{name}-{number}")
    await until(lambda: service.metric("ingest_streams", dialect="agentstream") == 103)
    service.process.send_signal(signal.SIGTERM)
    assert await exit_status(service) == 0
    assert len(lines(service, "call cut")) == 100
    assert lines(service, "further calls cut")[0]["calls"] == 3
    assert lines(service, "drained")[0]["calls_cut"] == 103


async def test_a_broker_that_is_back_is_told_with_what_waited_and_what_was_lost(
    process: Any, name: str
) -> None:
    with BrokerLab() as lab:
        service = process(REDIS_URL=lab.url)
        assert [line["event"] for line in lines(service, "the broker")][-1] == (
            "the broker takes writes"
        )
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.hear_ack(19)
        lab.freeze()
        await caller.speak(*range(20, 30))
        await until(lambda: lines(service, "the broker does not take writes"))
        await asyncio.sleep(1)  # time that it is away
        lab.come_back_empty()
        await caller.hear_ack(29)
        await until(lambda: lines(service, "the broker is back"))
        (back,) = lines(service, "the broker is back")
        assert back["event"] == "the broker is back, nothing is lost"
        assert back["level"] == "info"
        assert 1 <= back["away_seconds"] < 30
        assert (back["waited_streams"], back["waited_bytes"]) == (1, 10 * 320)
        assert (back["replayed_frames"], back["lost_frames"]) == (20, 0)
        assert back["rebased_streams"] == 1


async def test_frames_that_an_outage_has_lost_are_told_when_the_broker_is_back(
    process: Any, name: str
) -> None:
    with BrokerLab() as lab:
        service = process(REDIS_URL=lab.url, REWIND_SECONDS="0")
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.hear_ack(19)
        lab.freeze()
        await caller.speak(20)
        await until(lambda: lines(service, "the broker does not take writes"))
        lab.come_back_empty()
        await caller.hear_ack(20)
        await until(lambda: lines(service, "the broker is back"))
        (back,) = lines(service, "the broker is back")
        assert back["event"] == "the broker is back, frames are lost"
        assert back["level"] == "warning"
        assert back["lost_frames"] == 20
