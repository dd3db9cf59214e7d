"""What carriers put beside the audio, and around their messages, over real sockets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agentstream_sender import AgentstreamSender, media, start
from published import Broker, audio, entries
from running import Caller, Service, ServiceProcess, audio_message, pcm, service_process
from running import start_message as exostreamkit_start
from waiting import until
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.outbound.redis_streams.embedded import EmbeddedValkey

BRACE = b"{" + bytes(319)
"""Audio whose first byte opens a JSON object."""


@pytest.fixture(scope="module")
def logged(valkey: EmbeddedValkey, tmp_path_factory: Any) -> Iterator[ServiceProcess]:
    """A service whose log can be read."""
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "RESUME_SECONDS": "0.5",
        "ACK_INTERVAL": "1",
    }
    log: Path = tmp_path_factory.mktemp("wire") / "log"
    with service_process(environment, log) as process:
        yield process


def lines_of(service: ServiceProcess, name: str) -> list[dict[str, Any]]:
    """Return the log lines about a stream that are whole."""
    whole = service.log.read_text().split("\n")[:-1]
    lines = [json.loads(line) for line in whole if "{" in line]
    return [line for line in lines if line.get("stream_id") == name]


async def warnings(service: ServiceProcess, name: str) -> list[str]:
    """Return the warnings about a stream that has ended: a line is written some time after it."""
    await until(lambda: any(it["event"] == "stream ended" for it in lines_of(service, name)))
    return [it["event"] for it in lines_of(service, name) if it["level"] == "warning"]


def of_kind(broker: Broker, name: str, kind: str) -> list[Any]:
    return [entry["data"] for _, entry in entries(broker, name) if entry["type"] == kind]


def ledger(broker: Broker, name: str) -> dict[str, int]:
    found: dict[str, int] = of_kind(broker, name, "ended")[0]["ledger"]
    return found


def on_track(track: str, stream: str, chunk: int, audio: bytes) -> dict[str, Any]:
    message = media(stream, chunk, audio)
    message["media"]["track"] = track
    return message


def binary(message: Any) -> bytes:
    return json.dumps(message).encode()


async def agentstream(service: ServiceProcess | Service) -> AgentstreamSender:
    return await AgentstreamSender.dial(service.url)


# What is believed is the content, not the type of the frame


async def test_json_in_binary_frames_is_what_it_says_in_the_dialect_that_sends_pcm(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(logged.url)
    await caller.say(binary(exostreamkit_start(name)))
    await caller.hear("started")
    await caller.say(binary(audio_message(5, pcm(5))))
    await caller.say(b"\xef\xbb\xbf\n" + binary(audio_message(6, pcm(6))) + b"\n\0")
    await caller.hear_ack(6)
    await caller.say(binary({"event": "audio", "data": "AAA", "seq": 7}))
    assert (await caller.hear("error"))["code"] == "invalid_audio"
    await caller.say(binary({"event": "end"}))
    assert (await caller.hear("ended"))["ledger"]["rejected"] == 1
    assert await caller.closed() == 1000
    assert audio(broker, name) == [(5, pcm(5)), (6, pcm(6))]


async def test_pcm_that_begins_like_json_is_published(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    frames = [BRACE, b'{"' + bytes(318), b"{}", b'{"event":1}!', b'{"event":"end"', b" " * 320]
    caller = await Caller.dial(logged.url)
    await caller.start(name)
    for frame in frames:
        await caller.say(frame)
    assert (await caller.end())["published"] == len(frames)
    assert audio(broker, name) == list(enumerate(frames))


# What is around a message


@pytest.mark.parametrize("is_binary", [True, False])
async def test_a_mark_blanks_and_a_nul_around_every_message_cost_nothing(
    logged: ServiceProcess, broker: Broker, name: str, is_binary: bool
) -> None:
    call: list[Any] = [
        {"event": "connected"},
        start(name),
        media(name, 1, pcm(1)),
        media(name, 2, pcm(2, 9_600)),
        {"event": "stop", "stream_sid": name, "stop": {"reason": "callended"}},
    ]
    sender = await agentstream(logged)
    for message in call:
        text = f"\ufeff\r\n {json.dumps(message)} \n\0"
        await sender.say(text.encode() if is_binary else text)
    assert await sender.closed() == 1000
    assert audio(broker, name) == [(1, pcm(1)), (2, pcm(2, 9_600))]
    assert ledger(broker, name)["received"] == 2
    assert await warnings(logged, name) == []


async def test_the_first_message_of_the_other_dialect_may_begin_with_a_mark(
    service: Service, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.say("\ufeff" + json.dumps(exostreamkit_start(name)) + "\0")
    await caller.hear("started")
    await caller.say("\ufeff" + json.dumps(audio_message(0, pcm(0))))
    assert (await caller.end())["published"] == 1


# The number of a frame


async def test_a_chunk_is_a_number_however_it_is_written(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name)
    for seq, chunk in enumerate(["1.0", '"2.0"', "3e0", '" 4"', '"5e0"', "6", '"7"'], start=1):
        text = json.dumps(media(name, "CHUNK", pcm(seq))).replace('"CHUNK"', chunk)
        await sender.say(text)
    assert await sender.stop(name) == 1000
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(1, 8)]
    assert await warnings(logged, name) == []


async def test_a_chunk_that_cannot_be_read_is_counted_here_and_told_once(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    odd: list[Any] = ["", None, "x", 1.5, -1, 2**53, True, {}]
    await sender.begin(name)
    for seq, chunk in enumerate([7, *odd, 16], start=7):
        message = media(name, 0, pcm(seq))
        message["media"]["chunk"] = chunk
        await sender.say(message)
    assert await sender.stop(name) == 1000
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(7, 17)]
    counted = ledger(broker, name)
    assert (counted["published"], counted["rejected"], counted["missing"]) == (10, 0, 0)
    (remark,) = await warnings(logged, name)
    assert "chunk" in remark


async def test_what_is_odd_before_the_start_is_told_once_it_is_known_of_which_call(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    message = media(name, 0, pcm(0))
    message["media"]["chunk"] = ""
    for _ in range(3):
        await sender.say(message)
    await sender.say(start(name))
    await sender.say(message)
    assert await sender.stop(name) == 1000
    assert [seq for seq, _ in audio(broker, name)] == [0, 1, 2, 3]
    assert len(await warnings(logged, name)) == 1


# Whose audio it is


async def test_each_track_is_a_stream_of_its_own(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name, tracks=["inbound", "outbound"])
    for chunk in range(1, 11):
        await sender.say(on_track("outbound", name, chunk, pcm(1_000 + chunk)))
        await sender.say(on_track("inbound", name, chunk, pcm(chunk)))
    assert await sender.stop(name) == 1000
    for stream, track, above in ((name, None, 0), (f"{name}.outbound", "outbound", 1_000)):
        assert audio(broker, stream) == [(it, pcm(above + it)) for it in range(1, 11)]
        assert of_kind(broker, stream, "started")[0]["track"] == track
        assert of_kind(broker, stream, "gap") == []
        counted = ledger(broker, stream)
        assert (counted["received"], counted["published"]) == (10, 10)
    assert await warnings(logged, name) == []


async def test_where_tracks_count_together_each_has_gaps_for_the_numbers_of_the_other(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name)
    for chunk in range(1, 21):
        track = "inbound" if chunk % 2 == 0 else "outbound"
        await sender.say(on_track(track, name, chunk, pcm(chunk)))
    assert await sender.stop(name) == 1000
    for stream, chunks in ((name, range(2, 21, 2)), (f"{name}.outbound", range(1, 20, 2))):
        assert audio(broker, stream) == [(chunk, pcm(chunk)) for chunk in chunks]
        assert of_kind(broker, stream, "gap") == [
            {"first_missing": chunk + 1, "missing": 1} for chunk in chunks[:-1]
        ]
        counted = ledger(broker, stream)
        assert (counted["published"], counted["missing"]) == (10, 9)


async def test_another_track_alone_leaves_the_stream_itself_without_audio(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.say(on_track("outbound", name, 1, pcm(1)))  # also before the start
    await sender.say(start(name))
    for chunk in range(2, 100):
        await sender.say(on_track("outbound", name, chunk, pcm(chunk)))
    assert await sender.is_left_alone()
    assert await sender.stop(name) == 1000
    assert audio(broker, name) == []
    assert ledger(broker, name)["received"] == 0
    assert audio(broker, f"{name}.outbound") == [(chunk, pcm(chunk)) for chunk in range(1, 100)]
    assert ledger(broker, f"{name}.outbound")["published"] == 99


async def test_the_tracks_of_a_sender_that_is_gone_are_ended_with_its_stream(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name)
    await sender.say(on_track("inbound", name, 1, pcm(1)))
    await sender.say(on_track("outbound", name, 1, pcm(2)))
    await until(lambda: audio(broker, f"{name}.outbound"))
    sender.socket.transport.abort()
    streams = (name, f"{name}.outbound")
    await until(lambda: all(of_kind(broker, stream, "ended") for stream in streams))
    for stream in streams:
        assert of_kind(broker, stream, "ended")[0]["reason"] == "disconnected"


async def test_media_of_another_stream_is_refused_and_told_once(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name)
    for chunk in (1, 2):
        await sender.send_chunks(f"{name}-other", chunk)
        await sender.send_chunks(name, chunk)
    await sender.say({"event": "dtmf", "stream_sid": f"{name}-other", "dtmf": {"digit": "5"}})
    assert await sender.stop(name) == 1000
    assert [entry["type"] for _, entry in entries(broker, name)] == [
        "started", "audio", "audio", "ended",
    ]  # fmt: skip
    assert entries(broker, f"{name}-other") == []
    counted = ledger(broker, name)
    assert (counted["rejected"], counted["duplicate"]) == (3, 0)
    assert await warnings(logged, name) == [
        "refused: media of another stream",
        "refused: dtmf of another stream",
    ]


@pytest.mark.parametrize("channels", [2, "2"])
async def test_a_start_of_more_than_one_channel_is_closed_4400(
    service: Service, broker: Broker, name: str, channels: Any
) -> None:
    sender = await agentstream(service)
    await sender.begin(name, media_format={"sample_rate": "8000", "channels": channels})
    assert await sender.closed() == 4400
    assert "channels" in str(sender.socket.close_reason)
    assert entries(broker, name) == []


# A counter that starts over


async def test_a_row_of_duplicates_is_answered_once_with_what_to_do(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(logged.url)
    await caller.start(name)
    await caller.speak(*range(100, 110))
    await caller.speak(*range(90))
    await caller.speak(110)
    await caller.hear_ack(110)
    errors = [reply for reply in caller.replies if reply["event"] == "error"]
    assert [(error["code"], error["seq"]) for error in errors] == [("invalid_seq", 50)]
    assert "started over" in errors[0]["message"]
    assert "110" in errors[0]["message"]
    await caller.speak(*range(51))
    assert (await caller.hear("error"))["seq"] == 50
    assert (await caller.end())["duplicate"] == 141
    assert await caller.closed() == 1000
    assert len(await warnings(logged, name)) == 1


async def test_fifty_duplicates_in_a_row_are_nothing_to_speak_of(
    logged: ServiceProcess, name: str
) -> None:
    caller = await Caller.dial(logged.url)
    await caller.start(name)
    await caller.speak(*range(60))
    for newest in (60, 61):
        await caller.speak(*range(50))
        await caller.speak(newest)
    counted = await caller.end()
    assert (counted["duplicate"], counted["rejected"]) == (100, 0)
    assert [reply for reply in caller.replies if reply["event"] == "error"] == []
    assert await warnings(logged, name) == []


async def test_a_carrier_whose_counter_starts_over_is_told_to_the_log_alone(
    logged: ServiceProcess, broker: Broker, name: str
) -> None:
    sender = await agentstream(logged)
    await sender.begin(name)
    await sender.send_chunks(name, *range(1, 71))
    await sender.send_chunks(name, *range(1, 71))
    await sender.send_chunks(name, *range(71, 74))
    assert await sender.stop(name) == 1000
    assert sender.told == []
    assert ledger(broker, name)["duplicate"] == 70
    (told,) = await warnings(logged, name)
    assert "duplicates in a row" in told


# What is offered in the handshake


async def offer(url: str, *offered: str) -> str | None:
    names = [Subprotocol(name) for name in offered]
    async with connect(url, subprotocols=names, compression=None) as socket:
        return socket.subprotocol


async def test_a_subprotocol_that_no_dialect_names_is_not_chosen_and_that_is_told(
    logged: ServiceProcess, name: str
) -> None:
    assert await offer(logged.url, "audio", "s3cret-token") is None
    caller = await Caller.dial(logged.url, headers={"Sec-WebSocket-Protocol": "audio"})
    await caller.start(name)
    assert (await caller.end())["received"] == 0
    log = logged.log.read_text()
    assert "no dialect names an offered subprotocol" in log
    assert "s3cret-token" not in log


async def test_the_first_subprotocol_offered_that_a_dialect_names_is_chosen(
    start_service: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Exostreamkit, "subprotocols", ("audio.example", "v2.example"))
    monkeypatch.setattr(Agentstream, "subprotocols", ("carrier.example",))
    service = start_service()
    assert await offer(service.url, "x", "v2.example", "audio.example") == "v2.example"
    assert await offer(service.url, "carrier.example", "audio.example") == "carrier.example"
    assert await offer(service.url, "x", "Audio.Example") is None
    lines = [("Sec-WebSocket-Protocol", "x"), ("Sec-WebSocket-Protocol", "y")]
    offered = [Subprotocol("z"), Subprotocol("audio.example")]
    async with connect(service.url, subprotocols=offered, additional_headers=lines) as socket:
        await socket.send(json.dumps(exostreamkit_start(name)))
        assert json.loads(await socket.recv())["event"] == "started"
        assert socket.response is not None
        assert socket.response.headers.get_all("Sec-WebSocket-Protocol") == ["audio.example"]


# A linger changes when frames are published, and nothing else


async def test_a_linger_costs_no_frame_no_ack_and_no_end(
    valkey: EmbeddedValkey, broker: Broker, name: str, tmp_path: Path
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "ACK_INTERVAL": "3",
        "PUBLISH_LINGER_MS": "200",
    }
    with service_process(environment, tmp_path / "log") as lingering:
        caller = await Caller.dial(lingering.url)
        await caller.start(name)
        await caller.speak(*range(30))
        await caller.hear_ack(29 - 2)  # two may be confirmed without one
        await caller.speak(30)
        ended = await caller.end()
        await caller.socket.close()
    assert ended["published"] == 31
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(31)]
