"""Each alert fires by the fault it is for: one service, one broker, one Prometheus, in turn.

Prometheus runs with the files of deploy/, 60 times faster (`monitoring.faster`). Alerts whose fault
takes longer are in tests/fixtures/alerts/cases.yml.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from broker_lab import BrokerLab
from monitoring import alerts, panels
from prometheus_server import Prometheus, needs_prometheus
from running import Caller, ServiceProcess, audio_message, basic, pcm
from waiting import until
from websockets.exceptions import InvalidStatus

pytestmark = [pytest.mark.long(20), needs_prometheus]

MAX_STREAMS = 12
BUFFER_BYTES = 1024 * 1024
FRAME_BYTES = 60_000
RIGHT, WRONG = basic("key", "word"), basic("key", "wrong")

WITH_A_BUG = """
import adapters.inbound.websocket.connection as connection
right = connection.recognise
def recognise(first, handshake, dialects):
    if "meet the bug" in first:
        raise LookupError
    return right(first, handshake, dialects)
connection.recognise = recognise
from entrypoints.cli import main; main()
"""


@dataclass
class Watched:
    """A service that Prometheus watches, and its broker."""

    service: ServiceProcess
    broker: BrokerLab
    prometheus: Prometheus

    async def call(self, name: str, **fields: Any) -> Caller:
        caller = await Caller.dial(self.service.url, RIGHT)
        await caller.start(name, **fields)
        return caller

    @asynccontextmanager
    async def fires(self, *names: str) -> AsyncIterator[None]:
        """Stage a fault inside; these alerts do not fire before it, and do then."""
        await until(lambda: self.prometheus.firing().isdisjoint(names))
        began = time.monotonic()
        yield
        await until(lambda: set(names) <= self.prometheus.fired(began))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("watched")
    with BrokerLab() as broker:
        environment = {
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": broker.url,
            "SUPPORT_EXOTEL": "true",
            "EXOTEL_USERNAME": "key",
            "EXOTEL_PASSWORD": "word",
            "ACK_INTERVAL": "1",
            "MAX_STREAMS": str(MAX_STREAMS),
            "BUFFER_BYTES": str(BUFFER_BYTES),
            "REWIND_SECONDS": "1",
            "RESUME_SECONDS": "0.2",
        }
        service = ServiceProcess(environment, home / "service.log", program=["-c", WITH_A_BUG])
        try:
            with Prometheus(home, service.wait_until_ready().port) as prometheus:
                yield Watched(service, broker, prometheus)
        finally:
            service.kill()


async def test_healthy_calls_fire_nothing_and_every_query_has_data(
    watched: Watched, name: str
) -> None:
    began, prometheus = time.monotonic(), watched.prometheus
    calls = [await watched.call(f"{name}-{number}") for number in range(3)]
    for seq in range(100):
        for call in calls:
            await call.speak(seq)
        await asyncio.sleep(0.02)
    for call in calls:
        await call.end()
    done = 'ingest_runs_ended_total{reason="ended"} == 3'
    await until(lambda: prometheus.query(done))
    for alert in alerts():
        assert prometheus.query(alert.value), alert.name
        prometheus.query(alert.expr)
    for panel in panels():
        expr = panel.expr.removesuffix(" > 0")
        assert prometheus.query(expr), (panel.title, panel.expr)
    on_a_busy_machine = {"IngestConfirmationsSlow"}
    assert prometheus.fired(began) <= on_a_busy_machine


async def test_senders_that_are_refused(watched: Watched) -> None:
    async with watched.fires("IngestSendersRefused"):
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                await Caller.dial(watched.service.url, WRONG)


async def test_frames_that_cannot_be_used(watched: Watched, name: str) -> None:
    call = await watched.call(name)
    async with watched.fires("IngestFramesRejected"):
        for seq in range(20):
            await call.say(audio_message(seq, b"odd"))
    await call.end()


async def test_audio_that_never_arrives(watched: Watched, name: str) -> None:
    call = await watched.call(name)
    async with watched.fires("IngestAudioMissing"):
        await call.speak(0, 1, 50)
    await call.end()


async def test_streams_that_bring_no_audio(watched: Watched, name: str) -> None:
    async with watched.fires("IngestSilentCalls"):
        call = await watched.call(name)
    await call.end()


async def test_senders_that_are_gone_without_an_end(watched: Watched, name: str) -> None:
    calls = [await watched.call(f"{name}-{number}") for number in range(5)]
    async with watched.fires("IngestCallsEndEarly"):
        for call in calls:
            call.reset()


async def test_a_bug(watched: Watched, name: str) -> None:
    async with watched.fires("IngestBug"):
        caller = await Caller.dial(watched.service.url, RIGHT)
        await caller.start(name, tenant="meet the bug", wait=False)
        assert await caller.closed() == 1011


async def test_connections_that_take_all_places(watched: Watched) -> None:
    async with watched.fires("IngestCapacityNear", "IngestCallsTurnedAway"):
        held = [await Caller.dial(watched.service.url, RIGHT) for _ in range(MAX_STREAMS)]
        with pytest.raises(InvalidStatus) as refused:
            await Caller.dial(watched.service.url, RIGHT)
        assert refused.value.response.status_code == 503
    for caller in held:
        await caller.socket.close()


async def test_a_log_that_takes_no_lines(watched: Watched, name: str) -> None:
    pid = watched.service.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    async with watched.fires("IngestLogLinesDropped"):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))  # as a full disk
        await (await watched.call(name)).end()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def test_more_audio_than_is_retained(watched: Watched, name: str) -> None:
    call = await watched.call(name)
    async with watched.fires("IngestRewindShort"):
        for seq in range(2 * BUFFER_BYTES // FRAME_BYTES):
            await call.say(pcm(seq, FRAME_BYTES))
    await call.end()


async def test_a_broker_that_is_away(watched: Watched, name: str) -> None:
    """It is frozen, with more than half of the buffers full; behind it confirmations were slow."""
    call = await watched.call(name)
    async with watched.fires("IngestConfirmationsSlow"):
        async with watched.fires(
            "IngestBrokerAway", "IngestNotReady", "IngestNothingConfirmed", "IngestBuffersFilling"
        ):
            watched.broker.freeze()
            for seq in range(BUFFER_BYTES * 6 // 10 // FRAME_BYTES + 1):
                await call.say(pcm(seq, FRAME_BYTES))
        watched.broker.thaw()
        await call.end()


async def test_a_broker_that_lost_what_it_confirmed(watched: Watched, name: str) -> None:
    """It is wiped when some of the audio is retained no more."""
    service = watched.service
    call = await watched.call(name)
    await call.speak(*range(5))
    await call.hear_ack(4)
    await until(lambda: service.metric("ingest_kept_bytes") == 0)
    async with watched.fires("IngestBrokerLostData", "IngestAudioLost"):
        watched.broker.forget_all_keys()
        await call.speak(5)
        await call.hear_ack(5)
    await call.end()


async def test_a_restart_changes_the_start_time_that_an_alert_counts(watched: Watched) -> None:
    await asyncio.to_thread(watched.service.kill_and_restart)
    changed = 'changes(process_start_time_seconds{job="rtaa-ingest"}[1m]) == 1'
    await until(lambda: watched.prometheus.query(changed))
