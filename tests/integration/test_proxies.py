"""Calls through real proxies, with the files that `deploy/` has for them."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import media, start
from log_lines import lines_of
from proxies import KINDS, Proxy, setting
from published import Broker, audio, entries, facts
from running import Caller, ServiceProcess, audio_message, basic, pcm
from waiting import until
from websockets.exceptions import InvalidStatus

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.configuration import read_settings
from entrypoints.registry import destination_adapters

BEHIND = {"TRUSTED_PROXY_HOPS": "1", "DRAIN_SECONDS": "60"}
LARGEST = 100_000

StartProxy = Callable[..., Proxy]


@pytest.fixture(params=list(KINDS))
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartProxy]:
    with ExitStack() as stack:

        def put_before(*services: ServiceProcess) -> Proxy:
            folder = tmp_path / "proxy"
            folder.mkdir()
            ports = [it.port for it in services]
            return stack.enter_context(Proxy(request.param, folder, ports))

        yield put_before


async def test_audio_arrives_complete(
    process: Any, proxy: StartProxy, broker: Broker, name: str
) -> None:
    front = proxy(process(**BEHIND))
    caller = Caller(await front.dial())
    await caller.start(name)
    await caller.speak(*range(200))
    await caller.say(audio_message(200, pcm(200, LARGEST)))
    await caller.say(pcm(201))  # in a binary message
    assert (await caller.end())["published"] == 202
    assert await caller.closed() == 1000
    expected = [(seq, pcm(seq, LARGEST if seq == 200 else 320)) for seq in range(202)]
    assert audio(broker, name) == expected


async def test_each_ack_comes_before_the_next_frame(
    process: Any, proxy: StartProxy, name: str
) -> None:
    front = proxy(process(**BEHIND))
    caller = Caller(await front.dial())
    await caller.start(name)
    for seq in range(20):
        await caller.speak(seq)
        await caller.hear_ack(seq)


async def test_the_address_of_a_sender_is_the_one_that_the_proxy_saw(
    process: Any, proxy: StartProxy, name: str
) -> None:
    service = process(EXOTEL_ALLOWED_IPS="127.0.0.2/32", **BEHIND)
    front = proxy(service)
    caller = Caller(await front.dial("127.0.0.2"))
    await caller.start(name)
    await until(lambda: lines_of(service.log, ["stream started"]))
    (line,) = lines_of(service.log, ["stream started"])
    assert (line["peer"], line["address"]) == ("127.0.0.1", "127.0.0.2")
    for headers in ({}, {"X-Forwarded-For": "127.0.0.2"}):  # a forged one does not count
        with pytest.raises(InvalidStatus) as refused:
            await front.dial("127.0.0.3", headers)
        assert refused.value.response.status_code == 403


async def test_a_challenge_reaches_the_sender(process: Any, proxy: StartProxy) -> None:
    front = proxy(process(EXOTEL_USERNAME="user", EXOTEL_PASSWORD="pass", **BEHIND))
    with pytest.raises(InvalidStatus) as refused:
        await front.dial(headers=basic("user", "wrong"))
    assert refused.value.response.status_code == 401
    assert "Basic" in refused.value.response.headers["WWW-Authenticate"]
    await (await front.dial(headers=basic("user", "pass"))).close()


async def test_a_drain_works_through_the_proxy(
    process: Any, proxy: StartProxy, broker: Broker, name: str
) -> None:
    service = process(**BEHIND)
    front = proxy(service)
    caller, carrier = Caller(await front.dial()), Caller(await front.dial())
    await caller.start(name)
    await caller.speak(*range(57))
    stream = f"{name}-stream"
    await carrier.say(start(stream))
    await carrier.say(media(stream, 1, pcm(1)))
    await until(lambda: audio(broker, stream))
    service.process.send_signal(signal.SIGTERM)
    assert await caller.closed() == 1012
    assert [it["seq"] for it in caller.replies if it["event"] == "ack"][-1] == 56
    await carrier.say(media(stream, 2, pcm(2)))
    await carrier.say({"event": "stop", "stream_sid": stream, "stop": {"reason": "callended"}})
    assert await carrier.closed() == 1000
    assert await asyncio.to_thread(service.process.wait, 15) == 0
    assert facts(broker, name)["state"] == "cut"
    assert [entry["type"] for _, entry in entries(broker, stream)][-1] == "ended"
    assert audio(broker, stream) == [(1, pcm(1)), (2, pcm(2))]


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"], indirect=True)
async def test_a_handshake_that_a_draining_server_refuses_goes_to_another(
    process: Any, proxy: StartProxy, name: str
) -> None:
    services: Sequence[ServiceProcess] = [process(**BEHIND), process(**BEHIND)]
    front = proxy(*services)
    carriers = [Caller(await front.dial()) for _ in range(4)]
    for number, carrier in enumerate(carriers):
        await carrier.say(start(f"{name}-{number}"))

    def calls(service: ServiceProcess) -> float:
        return service.metric("ingest_streams", dialect="agentstream")

    await until(lambda: sum(map(calls, services)) == len(carriers))
    draining, other = sorted(services, key=calls, reverse=True)
    assert calls(draining)
    draining.process.send_signal(signal.SIGTERM)
    await until(draining.is_draining)
    for number in range(4):
        caller = Caller(await front.dial())
        await caller.start(f"{name}-late-{number}")
    assert other.metric("ingest_streams", dialect="exostreamkit") == 4


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("nginx", r"proxy_read_timeout (\S+);"),
        ("nginx", r"proxy_send_timeout (\S+);"),
        ("haproxy", r"timeout tunnel +(\S+)$"),
    ],
)
def test_a_silent_call_is_ended_by_the_service_and_not_by_the_proxy(
    valkey: EmbeddedValkey, name: str, pattern: str
) -> None:
    settings = read_settings(
        destination_adapters(),
        {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url, "SUPPORT_EXOTEL": "true"},
    )
    found = setting(name, pattern)
    seconds = int(found[:-1]) * {"s": 1, "m": 60, "h": 3600}[found[-1]]
    assert seconds > 2 * settings.calls.idle_timeout_seconds
    assert seconds > 2 * 2 * settings.buffers.buffer_seconds
