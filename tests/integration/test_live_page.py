"""`/live` on `OPERATIONS_PORT`: what it tells of real calls, and what it keeps to itself."""

import asyncio
import http.client
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from broker_lab import BrokerLab
from live_events import LiveEvents, row
from nats_client import needs_nats_server
from ports import quiet_port
from published_calls import PublishedCall, PublishedCalls
from running import Caller, Service, service_process
from waiting import until, wait_until
from websockets.exceptions import InvalidStatus

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.system_clock import SystemClock
from application.overview.audience import MAX_VIEWERS, Audience, TooManyViewers
from application.ports.destination import DestinationOptions

pytestmark = pytest.mark.long(20)


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


def watched(start_service: Any, **variables: str) -> tuple[Service, int]:
    port = quiet_port()
    return start_service(OPERATIONS_PORT=str(port), **variables), port


def get(port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


async def see(port: int, condition: Any, **query: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        with LiveEvents(port, **query) as events:
            return events.until(condition)

    return await asyncio.to_thread(look)


def test_it_is_never_where_carriers_come(start_service: Any) -> None:
    service, port = watched(start_service)
    for path in ("/live", "/live/events"):
        assert get(service.port, path).status == 404
    assert get(port, "/live").status == 200
    alone = start_service()
    for path in ("/live", "/live/events"):
        assert get(alone.port, path).status == 404


def test_the_page_may_load_and_run_only_what_is_in_it(start_service: Any) -> None:
    _, port = watched(start_service)
    answer = get(port, "/live")
    policy = answer.getheader("content-security-policy") or ""
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.getheader("cache-control") == "no-store"
    assert answer.getheader("x-content-type-options") == "nosniff"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/live/events", {"sec-fetch-site": "cross-site"}, 403),
        ("/live/events?watch=nothing", {}, 400),
        ("/live/events?watch=demo/../x", {}, 400),
        (f"/live/events?find={'x' * 301}", {}, 400),
    ],
)
def test_what_no_page_of_ours_asks_is_refused(
    start_service: Any, path: str, headers: dict[str, str], status: int
) -> None:
    _, port = watched(start_service)
    assert get(port, path, **headers).status == status


async def test_a_call_flows_stands_still_is_cut_and_ends(start_service: Any, name: str) -> None:
    service, port = watched(start_service, RESUME_SECONDS="30")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    seq = 0

    async def speak() -> None:
        nonlocal seq
        while True:
            await caller.speak(seq)
            seq += 1
            await asyncio.sleep(0.02)

    speaking = asyncio.create_task(speak())
    told = await see(port, lambda it: row(it, name).get("latency_ms") is not None, find=name)
    mine = row(told, name)
    assert (mine["condition"], mine["tenant"], mine["dialect"]) == (
        "flowing", "tenant-abc", "exostreamkit",
    )  # fmt: skip
    assert mine["missing"] == 0
    assert mine["level"] > 0
    assert told["broker"]["tone"] == "good"
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    told = await see(port, lambda it: row(it, name).get("condition") == "still", find=name)
    assert float(row(told, name)["age"].removesuffix(" s")) >= 2.0
    assert any("without audio" in it["text"] for it in told["wrong"])
    await asyncio.sleep(0.1)  # a time line counts from the end of the last frame, 20 ms later
    await caller.speak(seq + 3)  # three that never came
    caller.reset()
    told = await see(port, lambda it: row(it, name).get("condition") == "cut", find=name)
    assert row(told, name)["missing"] == 3
    assert told["complete"]["tone"] == "bad"
    again = await Caller.dial(service.url)
    await again.start(name, resume=True)
    await again.speak(seq + 4)
    await again.end()
    told = await see(
        port,
        lambda it: it.get("watched") and it["watched"]["moments"][-1:][0:1]
        and it["watched"]["moments"][-1]["kind"] == "ended",
        find=name, watch=f"tenant-abc/{name}",
    )  # fmt: skip
    assert row(told, name)["condition"] == "ended"
    assert row(told, name)["reason"] == "ended"
    line = told["watched"]
    kinds = [it["kind"] for it in line["moments"]]
    assert sorted(kinds[:-1]) == ["cut", "gap", "resumed", "silence", "started"]
    assert (kinds[0], kinds[-1]) == ("started", "ended")
    assert kinds.index("cut") < kinds.index("resumed")
    times = [it["at_ms"] for it in line["moments"]]
    assert times == sorted(times)
    gap = line["moments"][kinds.index("gap")]
    assert (gap["text"], gap["cause"]) == (
        f"3 frames missing from seq {seq}", "the sender did not send them",
    )  # fmt: skip
    assert line["ledger"]["missing"] == 3
    assert line["ledger"]["published"] == seq + 2
    assert line["levels"]


async def test_numbers_of_callers_are_masked(start_service: Any, name: str) -> None:
    service, port = watched(start_service)
    sender = await AgentstreamSender.dial(service.url)
    await sender.begin(name)
    await sender.send_chunks(name, 1, 2)
    told = await see(
        port, lambda it: it.get("watched") and it["watched"]["caller"], watch=f"tenant-abc/{name}"
    )
    assert told["watched"]["caller"] == "…670"
    assert "0981234567" not in json.dumps(told)
    await sender.stop(name)


async def test_a_broker_that_is_away_is_told_with_the_time_and_then_the_calls_are_there_again(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service, port = watched(start_service, REDIS_URL=lab.url)
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 1)

    def go_through_it() -> None:
        with LiveEvents(port, watch=f"tenant-abc/{name}") as events:
            events.until(lambda it: row(it, name))
            lab.kill()
            told = events.until(lambda it: it["broker"]["text"].startswith("broker away for "))
            assert told["calling"]["tone"] == told["complete"]["tone"] == "unknown"
            assert "; published: not known for " in told["arriving"]["text"]
            told = events.until(lambda it: "takes no writes" in it["service"]["text"])
            assert "1 call open" in told["service"]["text"]
            assert told["service"]["tone"] == "bad"
            assert told["wrong"][0]["text"].startswith("broker away for ")
            assert row(told, name)  # what was seen last stays
            lab.start()
            events.until(lambda it: it["broker"]["tone"] == it["service"]["tone"] == "good")
            told = events.until(lambda it: any(
                moment["kind"] == "outage" for moment in it["watched"]["moments"]
            ))  # fmt: skip

    await asyncio.to_thread(go_through_it)
    await caller.end()


async def test_a_view_opened_in_an_outage_or_after_it_knows_what_the_service_has_noted(
    start_service: Any, lab: BrokerLab, name: str
) -> None:
    service, port = watched(start_service, REDIS_URL=lab.url)
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    lab.kill()
    began_ms = time.time() * 1_000
    await until(lambda: service.get("/health/ready")[0] == 503)
    with pytest.raises(InvalidStatus):
        await Caller.dial(service.url)

    def calls_are_read(told: dict[str, Any]) -> bool:
        return bool(told["watched"] and told["watched"]["is_read"] and told["broker"]["tone"])

    def look_in_it() -> None:
        with LiveEvents(port, watch=f"tenant-abc/{name}") as events:
            told = events.until(lambda it: it["broker"]["text"].startswith("broker away for "))
            assert "at least" not in told["broker"]["text"]  # nor since the view was opened
            assert told["is_dated"]
            told = events.until(lambda it: "this service receives" in it["arriving"]["text"])
            told = events.until(lambda it: "receives no audio" in it["arriving"]["text"])
            assert told["arriving"]["tone"] == "bad"
            lab.start()
            told = events.until(lambda it: calls_are_read(it) and it["broker"]["tone"] == "good")
            (outage,) = [it for it in told["watched"]["moments"] if it["kind"] == "outage"]
            assert re.match(r"broker away for [\d.]+ (s|min)", outage["text"])
            assert "at least" not in outage["text"]

    await asyncio.to_thread(look_in_it)
    await until(lambda: service.get("/health/ready")[0] == 200)

    def texts(told: dict[str, Any], tone: str) -> list[str]:
        return [it["text"] for it in told["wrong"] if it["tone"] == tone]

    told = await see(port, lambda it: any("back since" in text for text in texts(it, "past")))
    (outage,) = [it for it in told["wrong"] if it["text"].endswith("back since")]
    assert re.fullmatch(
        r"broker away for \d+ s, no frame lost, 1 handshake refused, back since", outage["text"]
    )
    assert began_ms < outage["at_ms"] <= time.time() * 1_000
    assert any(
        re.fullmatch(r"1 of 2 handshakes refused in the last 10 min: no_broker 1; .*", it)
        for it in texts(told, "bad")
    )
    await caller.end()


def test_only_so_many_may_look_and_a_place_is_free_again_when_one_leaves(
    start_service: Any,
) -> None:
    _, port = watched(start_service)
    with ExitStack() as viewers:
        inside = [viewers.enter_context(LiveEvents(port)) for _ in range(MAX_VIEWERS)]
        assert all(it.next() for it in inside)
        with LiveEvents(port) as late:
            assert late.next() == {}
            assert late.next() is None
        inside[0].__exit__()

        def is_let_in() -> bool:
            with LiveEvents(port) as again:
                return bool(again.next())

        wait_until(is_let_in)


def test_head_of_the_events_ends_with_the_headers_and_takes_no_place(start_service: Any) -> None:
    _, port = watched(start_service)
    for _ in range(MAX_VIEWERS + 1):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("HEAD", "/live/events")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert str(answer.getheader("content-type")).startswith("text/event-stream")
        connection.request("GET", "/health/live")  # which waits for the end of the answer
        assert connection.getresponse().read() == b'{"status":"alive"}'
        connection.close()

    def is_let_in() -> bool:
        with LiveEvents(port) as viewer:
            return bool(viewer.next())

    wait_until(is_let_in)


async def test_the_broker_is_read_only_while_one_looks(lab: BrokerLab) -> None:
    def connect() -> RedisDestination:
        return RedisDestination(DestinationOptions(), lab.url)

    audience = Audience(connect, SystemClock(), 100, linger_seconds=0.5)
    with lab.client() as broker:

        def connections() -> int:
            return len(broker.client_list())

        before = connections()
        for viewer in ("first", "second"):
            audience.join(viewer)
        await until(lambda: (it := audience.look("first")) and it[0].has_index)
        assert connections() == before + 1
        audience.leave("first")
        audience.leave("second")
        await until(lambda: connections() == before)
        assert audience.look("first") is None
        audience.join("later")
        await until(lambda: (it := audience.look("later")) and it[0].has_index)
        await audience.close()
        assert connections() == before
        with pytest.raises(TooManyViewers):
            audience.join("too late")


async def test_calls_of_another_process_are_there_and_of_two_thousand_some_are_shown(
    start_service: Any, lab: BrokerLab
) -> None:
    _, port = watched(start_service, REDIS_URL=lab.url)
    destination = RedisDestination(DestinationOptions(), lab.url)
    calls = [PublishedCall(f"call-{number}", f"tenant-{number % 7}") for number in range(2_000)]
    await PublishedCalls(destination).start(calls)
    told = await see(
        port,
        lambda it: it["live"] == 2_000 and "not looked at" not in it["arriving"]["text"],
    )
    assert (len(told["rows"]), told["matching"]) == (200, 2_000)
    assert told["calling"]["text"].startswith("7 tenants: ")
    some = await see(port, lambda it: it["matching"], find="tenant-3 call-10")
    assert {it["tenant"] for it in some["rows"]} == {"tenant-3"}
    assert some["matching"] == len(some["rows"]) < 200
    await destination.close()


def test_a_viewer_does_not_hold_up_the_end_of_the_service(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    port = quiet_port()
    environment = {
        "PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url, "SUPPORT_EXOTEL": "true",
        "OPERATIONS_PORT": str(port),
    }  # fmt: skip
    with service_process(environment, tmp_path / "log") as service, LiveEvents(port) as events:
        assert events.next()
        service.process.send_signal(signal.SIGTERM)
        while events.next() is not None:
            pass
        assert service.process.wait(8) == 0
        assert "Traceback" not in service.log.read_text()


@needs_nats_server
async def test_it_is_the_same_over_nats(name: str) -> None:
    port = quiet_port()
    with EmbeddedNats() as server:
        environment = {
            "PUBSUB_ADAPTER": "nats_jetstream", "NATS_URL": server.url, "SUPPORT_EXOTEL": "true",
            "LOG_LEVEL": "error", "OPERATIONS_PORT": str(port),
        }  # fmt: skip
        with Service(environment) as service:
            caller = await Caller.dial(service.url)
            await caller.start(name)
            await caller.speak(0, 1, 4)
            told = await see(
                port,
                lambda it: it["watched"] and len(it["watched"]["moments"]) > 1,
                watch=f"tenant-abc/{name}",
            )
            assert row(told, name)["missing"] == 2
            assert [it["kind"] for it in told["watched"]["moments"]] == ["started", "gap"]
            await caller.end()
            await until(lambda: service.senders == 0)
