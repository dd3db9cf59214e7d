"""What is sent on the socket: each reply, error and close of the dialect exostreamkit."""

import asyncio
import base64
import json
import struct
from typing import Any

import pytest
from published import Broker, audio, entries, facts
from running import Caller, Service, audio_message, pcm, start_message
from waiting import until_state

from domain.sequence import MAX_SEQ


async def test_three_messages_give_started_acks_and_ended(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    started = await caller.start(name, sample_rate=24000, unknown={"x": [1]})
    assert started == {
        "event": "started",
        "interaction_id": name,
        "generation": 1,
        "last_seq": None,
    }
    await caller.speak(*range(25), size=9600)
    ledger = await caller.end()
    assert await caller.closed() == 1000
    assert ledger == {
        "received": 25,
        "published": 25,
        "duplicate": 0,
        "rejected": 0,
        "lost": 0,
        "missing": 0,
        "bytes": 240_000,
        "audio_ms": 5_000,
    }
    acks = [reply["seq"] for reply in caller.replies if reply["event"] == "ack"]
    assert acks == sorted(set(acks))
    assert acks[-1] == 24
    assert [r["event"] for r in caller.replies][-1] == "ended"
    found = entries(broker, name)
    assert [entry_id for entry_id, _ in found] == [f"1-{n}" for n in range(27)]
    assert [e["type"] for _, e in found] == ["started", *["audio"] * 25, "ended"]
    assert audio(broker, name) == [(n, pcm(n, 9600)) for n in range(25)]
    assert all(1.7e12 < int(e["received_at_ms"]) < 4e12 for _, e in found[1:-1])
    held = facts(broker, name)
    assert found[0][1]["data"] == {
        "tenant_id": "tenant-abc",
        "interaction_id": name,
        "stream_id": name,
        "track": None,
        "dialect": "exostreamkit",
        "generation": 1,
        "run": held["run"],
        "resumed": False,
        "sample_rate": 24000,
        "encoding": "pcm16",
        "channels": 1,
        "call_sid": None,
        "from": None,
        "to": None,
        "custom_parameters": {},
        "started_at": found[0][1]["data"]["started_at"],
    }
    assert found[-1][1]["data"] == {"reason": "ended", "ledger": ledger}
    assert held["state"] == "ended"
    assert json.loads(held["ledger"]) == ledger
    assert json.loads(held["started"]) == found[0][1]["data"]
    assert (held["generation"], held["next"], held["last_seq"], held["trimmed"]) == (
        ("1", "27", "24", "0")
    )


async def test_starts_and_ends_are_in_the_index(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.end()
    index: Any = broker.xrange("rtaa:interactions")
    found = [
        {k.decode(): v.decode() for k, v in fields.items()}
        for _, fields in index
        if fields[b"stream_id"] == name.encode()
    ]
    common = {
        "tenant_id": "tenant-abc",
        "interaction_id": name,
        "stream_id": name,
        "generation": "1",
        "run": facts(broker, name)["run"],
        "resumed": "0",
        "key": f"rtaa:audio:{{tenant-abc/{name}}}",
    }
    assert found == [
        {"type": "started", **common, "entry": "1-0", "event_id": found[0]["event_id"]},
        {"type": "ended", **common, "entry": "1-1", "event_id": found[1]["event_id"]},
    ]
    assert found[0]["event_id"] != found[1]["event_id"]


async def test_no_key_of_a_call_is_without_a_time_to_live(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    keys = [f"rtaa:audio:{{tenant-abc/{name}}}", f"rtaa:interaction:{{tenant-abc/{name}}}"]
    for _ in range(2):
        assert all(890 < int(broker.ttl(key)) <= 900 for key in keys)
        await caller.speak(1)
    await caller.end()
    assert all(890 < int(broker.ttl(key)) <= 900 for key in keys)


async def test_raw_binary_frames_are_numbered_from_zero(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    for n in range(12):
        await caller.say(pcm(n))
    await caller.hear_ack(9)
    await caller.end()
    assert audio(broker, name) == [(n, pcm(n)) for n in range(12)]


async def test_where_a_call_mixes_both_a_binary_frame_takes_the_highest_seq_and_one(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(100)
    await caller.say(pcm(7))
    await caller.say(b"odd")  # refused, and keeps its number, 102
    await caller.say(pcm(8))
    ledger = await caller.end()
    assert [seq for seq, _ in audio(broker, name)] == [100, 101, 103]
    assert (ledger["rejected"], ledger["missing"]) == (1, 1)
    assert next(r for r in caller.replies if r["event"] == "error")["seq"] == 102


async def test_a_sender_need_not_wait_for_started(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name, wait=False)
    await caller.speak(0, 1, 2)
    await caller.end()
    assert [seq for seq, _ in audio(broker, name)] == [0, 1, 2]


async def test_a_sender_need_not_wait_for_anything(
    service: Service, broker: Broker, name: str
) -> None:
    for n in (0, 5, 50):
        call = f"{name}-{n}"
        caller = await Caller.dial(service.url)
        await caller.start(call, wait=False)
        await caller.speak(*range(n))
        await caller.say({"event": "end"})
        await caller.socket.close()
        await until_state(broker, call, "ended")
        assert [seq for seq, _ in audio(broker, call)] == list(range(n))
        ended = entries(broker, call)[-1][1]["data"]
        assert (ended["reason"], ended["ledger"]["received"]) == ("ended", n)


async def test_an_ack_is_due_every_interval_and_before_ended(start_service: Any, name: str) -> None:
    service = start_service(ACK_INTERVAL="4")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    for last in (3, 7):
        await caller.speak(*range(last - 3, last + 1))
        await caller.hear_ack(last)
    await caller.speak(8)
    await caller.end()
    assert [r["seq"] for r in caller.replies if r["event"] == "ack"] == [3, 7, 8]


async def test_an_interval_of_zero_means_no_acks(start_service: Any, name: str) -> None:
    service = start_service(ACK_INTERVAL="0")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(30))
    await caller.end()
    assert {r["event"] for r in caller.replies} == {"started", "ended"}


async def test_a_gap_comes_before_the_frame_that_revealed_it(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(5, 6, 9, 10**12)
    ledger = await caller.end()
    found = entries(broker, name)
    assert [e["type"] for _, e in found] == [
        "started", "audio", "audio", "gap", "audio", "gap", "audio", "ended",
    ]  # fmt: skip
    assert found[3][1]["data"] == {"first_missing": 7, "missing": 2}
    assert found[5][1]["data"] == {"first_missing": 10, "missing": 10**12 - 10}
    assert ledger["missing"] == 10**12 - 8
    assert ledger["published"] == 4


async def test_repeated_and_late_frames_are_duplicates_and_the_first_copy_stays(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(3, 4, 6)
    for seq in (6, 4, 5, 0):
        await caller.say(audio_message(seq, pcm(999)))
    ledger = await caller.end()
    assert audio(broker, name) == [(3, pcm(3)), (4, pcm(4)), (6, pcm(6))]
    assert (ledger["duplicate"], ledger["missing"], ledger["published"]) == (4, 1, 3)


GOOD = base64.b64encode(bytes(320)).decode()
BAD = [
    ("malformed_json", "{"),
    ("malformed_json", '{"event":"audio","data":"AAA=","seq":1} x'),
    ("malformed_json", '{"event":"audio","data":"AAA=","seq":NaN}'),
    ("malformed_json", '{"event":"audio","data":"AAA=","seq":1,"x":"\\ud800"}'),
    ("malformed_json", '{"event":"audio","x":' + "[" * 50_000 + "]" * 50_000 + "}"),
    ("malformed_json", ""),
    ("invalid_message", "[]"),
    ("invalid_message", "{}"),
    ("invalid_message", '{"event":7}'),
    ("invalid_message", '"start"'),
    *(
        ("invalid_seq", f'{{"event":"audio","data":"{GOOD}","seq":{seq}}}')
        for seq in ("1.0", '"42"', "true", "null", "-1", str(MAX_SEQ + 1), "9" * 5_000, "{}")
    ),
    ("invalid_seq", f'{{"event":"audio","data":"{GOOD}"}}'),
    *(
        ("invalid_audio", f'{{"event":"audio","data":{data},"seq":1}}')
        for data in ('"AAA"', '"A-_="', '"AA AA"', '"AA=="', '""', "7", "null", '"AAAA\\n"', "[]")
    ),
    ("invalid_audio", '{"event":"audio","seq":1}'),
    ("invalid_audio", b""),
    ("invalid_audio", b"odd"),
    ("frame_too_large", bytes(100_002)),
    ("frame_too_large", json.dumps(audio_message(1, bytes(100_002)))),
    ("unexpected_event", json.dumps(start_message("other"))),
]


@pytest.mark.parametrize(("code", "message"), BAD, ids=range(len(BAD)))
async def test_a_bad_message_costs_that_frame_and_not_the_call(
    service: Service, broker: Broker, name: str, code: str, message: str | bytes
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.say(message)
    error = await caller.hear("error")
    assert error["code"] == code
    assert error["message"]
    assert "seq" in error
    await caller.speak(1)
    ledger = await caller.end()
    assert await caller.closed() == 1000
    assert (ledger["received"], ledger["published"], ledger["rejected"]) == (3, 2, 1)
    assert [seq for seq, _ in audio(broker, name)] == [0, 1]


async def test_ten_bad_messages_cost_ten_frames_and_no_other_call_notices(
    service: Service, broker: Broker, name: str
) -> None:
    bad, good = await Caller.dial(service.url), await Caller.dial(service.url)
    await bad.start(f"{name}-bad")
    await good.start(f"{name}-good")
    for n in range(10):
        await good.speak(n)
        await bad.speak(n)
        await bad.say(BAD[3 * n][1])
    assert (await bad.end())["rejected"] == 10
    ledger = await good.end()
    assert (ledger["received"], ledger["published"], ledger["rejected"]) == (10, 10, 0)
    assert [seq for seq, _ in audio(broker, f"{name}-bad")] == list(range(10))


async def test_unknown_events_are_counted_and_ignored(service: Service, name: str) -> None:
    before = service.metric("ingest_ignored_messages_total")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.say({"event": "weather", "data": 7})
    await caller.speak(0)
    ledger = await caller.end()
    assert (ledger["received"], ledger["published"]) == (1, 1)
    assert service.metric("ingest_ignored_messages_total") == before + 1
    assert [r["event"] for r in caller.replies if r["event"] == "error"] == []


async def test_duplicate_keys_take_the_last_value_on_every_path(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    data = base64.b64encode(pcm(1)).decode()
    await caller.say(f'{{"event":"audio","data":"AAAA","data":"{data}","seq":9,"seq":1}}')
    await caller.say(f'{{"event":"end","event":"audio","data":"{data}","seq":true,"seq":2}}')
    await caller.say(f'{{"event":"audio","data":"{data}","seq":3,"seq":null}}')
    ledger = await caller.end()
    assert audio(broker, name) == [(1, pcm(1)), (2, pcm(1))]
    assert ledger["rejected"] == 1


async def test_more_than_fifty_bad_messages_in_a_row_close_1008(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    for _ in range(50):
        await caller.say("{")
    await caller.speak(0)  # one good frame and the count starts from zero
    for _ in range(51):
        await caller.say("{")
    assert await caller.closed() == 1008
    assert [r for r in caller.replies if r["event"] == "ack"][-1]["seq"] == 0
    await until_state(broker, name, "ended")
    assert entries(broker, name)[-1][1]["data"]["reason"] == "disconnected"


BAD_STARTS: list[Any] = [
    {"event": "start"},
    start_message(""),
    *(
        start_message(bad)
        for bad in ("a:b", "a*", "{a}", "a b", "a\0", "a\n", "ä", "..", "a" * 129)
    ),
    start_message("ok", tenant="a/b"),
    start_message("ok", sample_rate=11025),
    start_message("ok", sample_rate="8000"),
    start_message("ok", sample_rate=8000.0),
    start_message("ok", encoding="mulaw"),
    start_message("ok", encoding=None),
    start_message("ok", resume="yes"),
    start_message("ok", interaction_id=5),
    [],
    {"event": "weather"},
    audio_message(0, pcm(0)),
    pcm(0),
]


@pytest.mark.parametrize("first", BAD_STARTS, ids=range(len(BAD_STARTS)))
async def test_a_first_message_that_starts_nothing_closes_4400(
    service: Service, broker: Broker, first: Any
) -> None:
    before = int(broker.dbsize())
    caller = await Caller.dial(service.url)
    await caller.say(first)
    assert await caller.closed() == 4400
    assert caller.replies == []
    assert int(broker.dbsize()) == before


async def test_a_first_message_that_is_not_json_closes_1007(service: Service) -> None:
    for first in ("hello", "", "{", '{"event":"start"} x'):
        caller = await Caller.dial(service.url)
        await caller.say(first)
        assert await caller.closed() == 1007


async def test_a_text_that_is_not_utf8_closes_1007_at_any_time(service: Service, name: str) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.socket.send(b"\xff\xfe", text=True)
    assert await caller.closed() == 1007


async def test_an_end_without_a_start_closes_1000_and_publishes_nothing(
    service: Service, broker: Broker
) -> None:
    before = int(broker.dbsize())
    caller = await Caller.dial(service.url)
    await caller.say({"event": "end"})
    assert await caller.closed() == 1000
    assert int(broker.dbsize()) == before


async def test_what_is_sent_after_the_end_is_ignored(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    await caller.say({"event": "end"})
    await caller.say({"event": "end"})
    await caller.speak(1)
    assert await caller.closed() == 1000
    assert [e["type"] for _, e in entries(broker, name)] == ["started", "audio", "ended"]


async def test_a_message_over_256_kib_closes_1009(service: Service, name: str) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.say("x" * (256 * 1024 + 1))
    assert await caller.closed() == 1009


async def test_the_largest_frame_is_accepted_in_both_forms(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, size=100_000)
    await caller.say(pcm(1, 100_000))
    assert (await caller.end())["bytes"] == 200_000


async def test_a_protocol_violation_closes_1002(service: Service, name: str) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    caller.socket.transport.write(struct.pack("!BB", 0x83, 0x80) + b"\0\0\0\0")  # opcode 3
    assert await caller.closed() == 1002


async def test_who_does_not_start_in_time_is_closed_4408(start_service: Any) -> None:
    service = start_service(START_TIMEOUT_SECONDS="0.2")
    caller = await Caller.dial(service.url)
    assert await caller.closed() == 4408


async def test_who_falls_silent_is_ended_as_idle_and_closed_4408(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(IDLE_TIMEOUT_SECONDS="0.3")
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0)
    assert await caller.closed() == 4408
    assert [r["event"] for r in caller.replies] == ["started", "ack", "ended"]
    assert entries(broker, name)[-1][1]["data"]["reason"] == "idle"


async def test_who_speaks_too_long_is_ended_as_too_long_and_closed_4408(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service(MAX_CALL_SECONDS="0.4")
    caller = await Caller.dial(service.url)
    await caller.start(name)

    async def speak_on() -> None:
        for seq in range(10_000):
            await caller.speak(seq)
            await asyncio.sleep(0.02)

    speaking = asyncio.create_task(speak_on())
    assert await caller.closed() == 4408
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    assert entries(broker, name)[-1][1]["data"]["reason"] == "too_long"


async def test_a_sender_far_faster_than_real_time_loses_nothing(
    service: Service, broker: Broker, name: str
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    listening = asyncio.create_task(caller.hear("ended"))
    await caller.speak(*range(3_000), size=3_200)
    await caller.say({"event": "end"})
    assert (await listening)["ledger"]["published"] == 3_000
    assert audio(broker, name) == [(n, pcm(n, 3_200)) for n in range(3_000)]
    assert service.metric("ingest_buffered_bytes") == 0
