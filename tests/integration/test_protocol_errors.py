"""Frames that no WebSocket may send, in the middle of a call."""

from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from published import Broker, audio, entries
from raw_peer import BINARY, TEXT, frame
from running import Caller, Service, pcm
from waiting import until, until_state

PAYLOADS = {TEXT: b'{"event":"audio","data":"AAAA","seq":10}', BINARY: pcm(10)}
WRONG = {
    f"{what} {kind}": frame(opcode, PAYLOADS[opcode], **flags)
    for what, flags in {"compressed": {"rsv1": True}, "unmasked": {"masked": False}}.items()
    for kind, opcode in {"text": TEXT, "binary": BINARY}.items()
}


@pytest.fixture
def patient(start_service: Any) -> Service:
    """A service that does not end what is cut while a test looks at it."""
    service: Service = start_service(RESUME_SECONDS="60")
    return service


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_frame_against_the_protocol_is_closed_1002_and_the_run_can_be_resumed(
    patient: Service, broker: Broker, name: str, wrong: str
) -> None:
    caller = await Caller.dial(patient.url)
    await caller.start(name)
    await caller.speak(*range(10))
    caller.socket.transport.write(WRONG[wrong] + frame(BINARY, pcm(11)))
    assert await caller.closed() == 1002
    await until_state(broker, name, "cut")
    assert [entry["type"] for _, entry in entries(broker, name)] == ["started", *["audio"] * 10]
    again = await Caller.dial(patient.url)
    assert (await again.start(name, resume=True))["last_seq"] == 9
    await again.speak(10, 11)
    ledger = await again.end()
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(12)]
    assert (ledger["published"], ledger["missing"], ledger["rejected"]) == (12, 0, 0)
    assert [entry["type"] for _, entry in entries(broker, name)].count("ended") == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(frame(0x3, b""), 1002), (frame(TEXT, b"\xff"), 1007), (frame(BINARY, bytes(300_000)), 1009)],
    ids=["opcode", "no UTF-8", "too long"],
)
async def test_what_is_confirmed_is_acked_before_a_broken_frame_closes(
    patient: Service, name: str, wrong: bytes, code: int
) -> None:
    caller = await Caller.dial(patient.url)
    await caller.start(name)
    await caller.speak(*range(5))
    published = {"outcome": "published"}
    await until(lambda: patient.metric("ingest_frames_total", **published) == 5)
    caller.socket.transport.write(wrong)
    assert await caller.closed() == code
    assert [reply["seq"] for reply in caller.replies if reply["event"] == "ack"] == [4]


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_carrier_that_breaks_the_protocol_is_closed_1002_and_may_come_back(
    patient: Service, broker: Broker, name: str, wrong: str
) -> None:
    sender = await AgentstreamSender.dial(patient.url)
    await sender.begin(name)
    await sender.send_chunks(name, *range(1, 11))
    sender.socket.transport.write(WRONG[wrong])
    assert await sender.closed() == 1002
    assert sender.told == []
    await until_state(broker, name, "cut")
    again = await AgentstreamSender.dial(patient.url)
    await again.begin(name)
    await again.send_chunks(name, 11, 12)
    assert await again.stop(name) == 1000
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(1, 13)]
    assert [entry["type"] for _, entry in entries(broker, name)].count("ended") == 1
