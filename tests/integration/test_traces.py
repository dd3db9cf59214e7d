"""Calls as spans at a real collector, and the trace parent in `started`."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender, media
from freezing import frozen
from log_lines import lines_of
from published import Broker, starts
from running import Caller, ServiceProcess, pcm
from trace_collector import Found, TraceCollector
from waiting import until, until_published, until_state
from worker_processes import StartWorkers, children, worker_of

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED = f"00-{TRACE_ID}-{PARENT_ID}-01"
NOT_RECORDED = f"00-{TRACE_ID}-{PARENT_ID}-00"

SOON, NEVER = "20", "3600000"
"""Milliseconds after which spans are exported."""

StartProcess = Callable[..., ServiceProcess]


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[TraceCollector]:
    with TraceCollector() as running:
        yield running


@pytest.fixture
def collector(shared_collector: TraceCollector) -> Iterator[TraceCollector]:
    yield shared_collector
    shared_collector.status = 200
    shared_collector.may_answer.set()


@pytest.fixture(scope="module")
def traced(
    valkey: EmbeddedValkey,
    shared_collector: TraceCollector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceProcess]:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_TENANTS": "tenant-abc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": shared_collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter2",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.version=of-ours",
        "OTEL_BSP_SCHEDULE_DELAY": SOON,
    }
    service = ServiceProcess(environment, tmp_path_factory.mktemp("traced") / "log")
    try:
        yield service.wait_until_ready()
        assert service.stop() == 0
        assert "hunter2" not in service.log.read_text()
        (listening,) = lines_of(service.log, ["listening"])
        assert listening["traces"] is True
    finally:
        if service.process.poll() is None:
            service.kill()


async def spans_of(collector: TraceCollector, name: str, count: int = 1) -> list[Found]:
    await until(lambda: len(collector.of(name)) >= count)
    return collector.of(name)


def parents(broker: Broker, stream: str) -> list[str | None]:
    """The trace parent of each `started` of a stream."""
    return [started.get("traceparent") for started in starts(broker, stream)]


async def call(
    service: ServiceProcess, name: str, *frames: int, headers: Any = None, **fields: Any
) -> int | None:
    """Make a whole call; return the code of its close."""
    caller = await Caller.dial(service.url, headers)
    await caller.start(name, wait=False, **fields)
    await caller.speak(*frames)
    await caller.say({"event": "end"})
    return await caller.closed()


async def test_a_call_is_one_span_under_that_of_its_sender(
    traced: ServiceProcess, collector: TraceCollector, broker: Broker, name: str
) -> None:
    headers = {"traceparent": RECORDED, "tracestate": "vendor=1"}
    assert await call(traced, name, 0, 1, 1, 5, headers=headers) == 1000
    assert parents(broker, name) == [RECORDED]
    (found,) = await spans_of(collector, name)
    span = found.span
    assert (span.name, span.kind) == ("ingest call", span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert span.start_time_unix_nano < span.end_time_unix_nano
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert found.attributes == {
        "network.protocol.name": "websocket",
        "url.path": "/v1/ingest",
        "rtaa.tenant_id": "tenant-abc",
        "rtaa.interaction_id": name,
        "rtaa.stream_id": name,
        "rtaa.dialect": "exostreamkit",
        "rtaa.sample_rate": 8000,
        "rtaa.encoding": "pcm16",
        "rtaa.generation": 1,
        "rtaa.resumed": False,
        "rtaa.run.state": "ended",
        "rtaa.close.code": 1000,
        "rtaa.close.reason": "ended",
        "rtaa.frames.received": 4,
        "rtaa.frames.published": 3,
        "rtaa.frames.duplicate": 1,
        "rtaa.frames.rejected": 0,
        "rtaa.frames.lost": 0,
        "rtaa.frames.missing": 3,
        "rtaa.audio_ms": 60,
    }
    assert found.resource["service.name"] == "rtaa-ingest"
    assert found.resource["service.version"] == "of-ours"
    assert found.resource["deployment.environment.name"] == "test"
    assert found.resource["process.pid"] == traced.process.pid
    assert found.headers["api-key"] == "hunter2"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"traceparent": RECORDED.upper()},
        {"traceparent": f"ff{RECORDED[2:]}"},
        [("traceparent", RECORDED), ("traceparent", RECORDED)],
    ],
)
async def test_without_a_trace_of_its_sender_a_call_begins_one(
    traced: ServiceProcess, collector: TraceCollector, broker: Broker, name: str, headers: Any
) -> None:
    await call(traced, name, 0, headers=headers)
    (found,) = await spans_of(collector, name)
    assert found.span.parent_span_id == b""
    assert found.span.trace_id.hex() != TRACE_ID
    (published,) = parents(broker, name)
    assert published is not None
    assert published[:-2] == found.traceparent[:-2]
    assert int(published[-2:], 16) & 1


async def test_each_connection_of_a_run_is_a_span_and_a_start_of_its_own(
    traced: ServiceProcess, collector: TraceCollector, broker: Broker, name: str
) -> None:
    cut = await Caller.dial(traced.url, {"traceparent": RECORDED})
    await cut.start(name)
    await cut.speak(0, 1)
    await until_published(broker, name, 2)
    cut.reset()
    await until_state(broker, name, "cut")
    again = RECORDED.replace(PARENT_ID, "00f067aa0ba902b7")
    assert await call(traced, name, 2, headers={"traceparent": again}, resume=True) == 1000
    assert await call(traced, name, 0) == 1000
    first, resumed, new = await spans_of(collector, name, 3)
    assert parents(broker, name)[:2] == [RECORDED, again]
    assert new.span.span_id.hex() in str(parents(broker, name)[2])
    told = [
        (
            it.attributes["rtaa.generation"],
            it.attributes["rtaa.resumed"],
            it.attributes["rtaa.run.state"],
        )
        for it in (first, resumed, new)
    ]
    assert told == [(1, False, "cut"), (2, True, "ended"), (3, False, "ended")]
    assert "rtaa.close.code" not in first.attributes
    assert resumed.span.parent_span_id.hex() == "00f067aa0ba902b7"


async def test_a_call_whose_trace_is_not_recorded_is_no_span(
    traced: ServiceProcess, collector: TraceCollector, broker: Broker, name: str
) -> None:
    await call(traced, name, 0, headers={"traceparent": NOT_RECORDED})
    await call(traced, f"{name}-next", 0, headers={"traceparent": RECORDED})
    await spans_of(collector, f"{name}-next")
    assert collector.of(name) == []
    assert parents(broker, name) == [NOT_RECORDED]


async def test_all_tracks_of_a_call_are_one_span(
    traced: ServiceProcess, collector: TraceCollector, broker: Broker, name: str
) -> None:
    sender = await AgentstreamSender.dial(traced.url)
    await sender.begin(name)
    for track in ("inbound", "outbound"):
        for chunk in (1, 2, 3):
            frame = media(name, chunk, pcm(chunk))
            frame["media"]["track"] = track
            await sender.say(frame)
    assert await sender.stop(name) == 1000
    (found,) = await spans_of(collector, f"call-{name}")
    assert found.attributes["rtaa.frames.published"] == 6
    assert found.attributes["rtaa.stream_id"] == name
    (published,) = parents(broker, name)
    assert parents(broker, f"{name}.outbound") == [published]
    assert found.span.span_id.hex() in str(published)


async def test_a_sender_that_is_refused_is_a_span_without_a_generation(
    traced: ServiceProcess, collector: TraceCollector, name: str
) -> None:
    assert await call(traced, name, tenant="tenant-other") == 4403
    (found,) = await spans_of(collector, name)
    told = found.attributes
    assert (told["rtaa.close.code"], told["rtaa.close.reason"]) == (4403, "not_allowed")
    assert "rtaa.generation" not in told
    assert "error.type" not in told
    assert found.span.status.code == found.span.status.STATUS_CODE_UNSET


async def test_a_call_whose_sender_leaves_early_is_a_span_once_its_start_is_settled(
    traced: ServiceProcess, collector: TraceCollector, valkey: EmbeddedValkey, name: str
) -> None:
    caller = await AgentstreamSender.dial(traced.url)
    with frozen(valkey.pid):
        await caller.begin(name)
        await caller.send_chunks(name, 1, 2)
        caller.reset()
        await until(lambda: traced.metric("ingest_connections") == 0)
        assert collector.of(f"call-{name}") == []
    (found,) = await spans_of(collector, f"call-{name}")
    assert found.attributes["rtaa.frames.published"] == 2
    assert found.attributes["rtaa.run.state"] == "cut"
    assert "rtaa.close.code" not in found.attributes


async def test_workers_export_at_the_end_what_they_have(
    workers: StartWorkers, collector: TraceCollector, name: str
) -> None:
    service = workers(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
        OTEL_BSP_SCHEDULE_DELAY=NEVER,
    )
    pids = children(service)
    callers: list[Caller] = []
    held: set[int] = set()
    while held != set(pids):
        caller = await Caller.dial(service.url)
        await caller.start(f"{name}-{len(callers)}")
        callers.append(caller)
        held.add(await asyncio.to_thread(worker_of, caller, service))
    assert await asyncio.to_thread(service.stop) == 0
    found = [it for number in range(len(callers)) for it in collector.of(f"{name}-{number}")]
    assert len(found) == len(callers)
    assert {it.resource["process.pid"] for it in found} == set(pids)
    assert len({it.resource["service.instance.id"] for it in found}) == len(pids)
    assert {it.attributes["rtaa.close.reason"] for it in found} == {"restart"}


async def test_a_collector_that_is_away_costs_spans_and_no_call(
    process: StartProcess, collector: TraceCollector, broker: Broker, name: str
) -> None:
    collector.status = 400
    service = process(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY=SOON)
    for number in range(3):
        assert await call(service, f"{name}-{number}", 0) == 1000
        assert len(parents(broker, f"{name}-{number}")) == 1
    await until(lambda: service.metric("ingest_spans_dropped_total") == 3)
    collector.status = 200
    assert await call(service, f"{name}-again", 0) == 1000
    await spans_of(collector, f"{name}-again")
    collector.may_answer.clear()
    assert await call(service, f"{name}-last", 0) == 1000
    service.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.process.wait, 30) == 0
    told = lines_of(service.log)
    (dropped,) = [line for line in told if line["event"].startswith("spans dropped")]
    assert "400" in dropped["error"]
    assert "the trace collector takes spans again" in [line["event"] for line in told]
    (left,) = [line for line in told if line["event"].startswith("stopped with spans")]
    assert left["spans"] == 1
    assert not [line for line in told if line["logger"].startswith("opentelemetry")]


async def test_without_traces_nothing_of_opentelemetry_is_needed(
    process: StartProcess, collector: TraceCollector, tmp_path: Path, broker: Broker, name: str
) -> None:
    """It cannot be imported there, as where the extra is not installed."""
    absent = tmp_path / "opentelemetry" / "__init__.py"
    absent.parent.mkdir()
    absent.write_text("raise ImportError('not installed')\n")
    service = process(
        PYTHONPATH=str(tmp_path),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_EXPORTER="none",
    )
    assert await call(service, name, 0, headers={"traceparent": RECORDED}) == 1000
    assert parents(broker, name) == [RECORDED]
    assert await call(service, f"{name}-next", 0) == 1000
    assert parents(broker, f"{name}-next") == [None]
    assert await asyncio.to_thread(service.stop) == 0
    assert collector.of(name) == []
