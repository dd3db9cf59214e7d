"""Frames that no WebSocket may send, in the middle of a call, and frames that are unusual.

Which they are is told in `tests/unit/test_frame_rules.py`; here, what becomes of the call.
"""

from typing import Any

import pytest
from agentstream_sender import AgentstreamSender
from published import Broker, audio, entries
from raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    Peer,
    fragments,
    frame,
    header,
    unmasked,
)
from running import Caller, Service, pcm
from waiting import until, until_state, wait_until

from adapters.inbound.websocket.frame_reader import MAX_FRAGMENTS
from entrypoints.server import MAX_MESSAGE_BYTES

WRONG = {
    "compressed": frame(TEXT, b'{"event":"audio","data":"AAAA","seq":10}', rsv=4),
    "unmasked": unmasked(BINARY, pcm(10)),
}
"""Two of those that `tests/unit/test_frame_rules.py` has."""


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


START = (
    b'{"event":"start","interaction_id":"%b","tenant_id":"tenant-abc",'
    b'"sample_rate":8000,"encoding":"pcm16"}'
)


def test_a_call_in_fragments_between_pings_and_in_small_segments_is_published(
    service: Service, broker: Broker, name: str
) -> None:
    start = START % name.encode()
    spoken = [pcm(n) for n in range(300)]
    data = [*fragments(TEXT, [start[:10], b"", start[10:]]), frame(PING, b"one")]
    for each in spoken:
        data += fragments(BINARY, [each[:7], each[7:]])
        data += [frame(PONG)]
    data += [frame(PING, b"two"), frame(TEXT, b'{"event":"end"}')]
    stream = b"".join(data)
    with Peer(service.port, "/v1/ingest") as peer:
        peer.shake()
        for at in range(0, len(stream), 1_447):
            peer.send(stream[at : at + 1_447])
        replies = [peer.next()]
        while b'"ended"' not in replies[-1].payload:
            replies.append(peer.next())
    pongs = [reply.payload for reply in replies if reply.opcode == PONG]
    assert pongs == [b"one", b"two"]
    assert audio(broker, name) == list(enumerate(spoken))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x3, b""), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"{", fin=False) + frame(CONT, b"", fin=False) * MAX_FRAGMENTS, 1008),
        (header(BINARY, MAX_MESSAGE_BYTES + 1) + MASK, 1009),
    ],
    ids=["opcode", "utf8", "fragments", "size"],
)
def test_a_call_that_breaks_the_protocol_is_closed_with_what_it_sent_published(
    service: Service, broker: Broker, name: str, data: bytes, code: int
) -> None:
    with Peer(service.port, "/v1/ingest") as peer:
        peer.shake().send(frame(TEXT, START % name.encode()))
        assert b'"started"' in peer.next().payload
        peer.send(frame(BINARY, pcm(0)), frame(BINARY, pcm(1)), data)
        last = peer.rest()[-1]
        assert (last.opcode, last.code) == (CLOSE, code)
    wait_until(lambda: audio(broker, name) == [(0, pcm(0)), (1, pcm(1))])
